package portmap

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"time"

	"github.com/huin/goupnp"
	"github.com/huin/goupnp/dcps/internetgateway2"
	"github.com/huin/goupnp/soap"
)

const (
	// searchTime is how long answers to a search are waited for, searchSends
	// how often it is asked meanwhile, and maxLocations how many different
	// answers are looked at.
	searchTime   = 1500 * time.Millisecond
	searchSends  = 3
	maxLocations = 4
	// maxAnswers bounds the datagrams that a search reads, from whomever.
	maxAnswers = 256
	// maxXML bounds a description or an answer, in bytes, and maxHeader what
	// is before it.
	maxXML, maxHeader = 64 << 10, 16 << 10
	// httpTimeout bounds one request, upnpTimeout all of them for a mapping.
	httpTimeout, upnpTimeout = 3 * time.Second, 15 * time.Second
	// portTries is how many other external ports are tried if somebody has
	// the first.
	portTries = 3
	// maxServices bounds the services of a gateway that are tried.
	maxServices = 4
	// description is shown in the gateway's list of mappings.
	description = "weft"
	// upnpConflict and upnpPermanent are errors of AddPortMapping.
	upnpConflict, upnpPermanent = 718, 725
)

// upnp is UPnP IGD, versions 1 and 2. goupnp's own search sends to all
// interfaces and asks everybody who answers, so only its descriptions and SOAP
// clients are used.
type upnp struct {
	ssdp    netip.AddrPort
	service igd // what has made the mapping
}

// igd is what the services of a gateway that map ports have in common.
type igd interface {
	AddPortMappingCtx(ctx context.Context, remoteHost string, externalPort uint16, protocol string, internalPort uint16,
		internalClient string, enabled bool, description string, seconds uint32) error
	DeletePortMappingCtx(ctx context.Context, remoteHost string, externalPort uint16, protocol string) error
	GetExternalIPAddressCtx(ctx context.Context) (string, error)
}

func (*upnp) name() string { return "UPnP" }

func (u *upnp) acquire(ctx context.Context, p place, last uint16) (netip.AddrPort, time.Duration, error) {
	ctx, cancel := context.WithTimeout(ctx, upnpTimeout)
	defer cancel()
	if u.service != nil {
		return u.add(ctx, u.service, p, last)
	}
	services, err := u.services(ctx, p)
	if err != nil {
		return netip.AddrPort{}, 0, err
	}
	var errs []error
	for _, s := range services {
		external, lifetime, err := u.add(ctx, s, p, last)
		if err == nil {
			u.service = s
			return external, lifetime, nil
		}
		errs = append(errs, err)
	}
	return netip.AddrPort{}, 0, errors.Join(errs...)
}

func (u *upnp) release(ctx context.Context, _ place, external uint16) error {
	if u.service == nil {
		return nil
	}
	return u.service.DeletePortMappingCtx(ctx, "", external, "UDP")
}

// add makes a mapping with one service.
func (u *upnp) add(ctx context.Context, s igd, p place, last uint16) (netip.AddrPort, time.Duration, error) {
	text, err := s.GetExternalIPAddressCtx(ctx)
	if err != nil {
		return netip.AddrPort{}, 0, err
	}
	address, err := netip.ParseAddr(text)
	if err != nil || !address.Is4() {
		return netip.AddrPort{}, 0, fmt.Errorf("the external address %.40q is none", text)
	}
	port, lifetime := cmp.Or(last, p.port), p.lifetime
	for range portTries + 1 {
		err = s.AddPortMappingCtx(ctx, "", port, "UDP", p.port, p.local.String(), true, description, uint32(lifetime/time.Second))
		switch upnpCode(err) {
		case upnpConflict:
			port = uint16(1024 + rand.IntN(1<<16-1024))
			continue
		case upnpPermanent:
			lifetime = 0
			continue
		}
		break
	}
	if lifetime == 0 {
		lifetime = p.lifetime // it is looked after as often
	}
	return netip.AddrPortFrom(address, port), lifetime, err
}

// upnpCode returns the number of an error of a service, 0 for others.
func upnpCode(err error) int {
	fault, ok := errors.AsType[*soap.SOAPFaultError](err)
	if !ok {
		return 0
	}
	return fault.Detail.UPnPError.Errorcode
}

// services finds what the gateway has that maps ports.
func (u *upnp) services(ctx context.Context, p place) ([]igd, error) {
	locations, err := u.search(ctx, p)
	if err != nil {
		return nil, err
	}
	if len(locations) == 0 {
		return nil, errNoAnswer
	}
	client := httpClient(p)
	var out []igd
	var errs []error
	for _, at := range locations {
		root, err := describe(ctx, client, at)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		out = append(out, servicesOf(root, at, client)...)
	}
	if len(out) == 0 {
		return nil, errors.Join(append(errs, errors.New("the gateway has no service that maps ports"))...)
	}
	return out[:min(len(out), maxServices)], nil
}

// servicesOf returns the services of a description, the newest kind first.
func servicesOf(root *goupnp.RootDevice, at *url.URL, client *http.Client) (out []igd) {
	two, _ := internetgateway2.NewWANIPConnection2ClientsFromRootDevice(root, at)
	for _, c := range two {
		c.SOAPClient.HTTPClient = *client
		out = append(out, c)
	}
	one, _ := internetgateway2.NewWANIPConnection1ClientsFromRootDevice(root, at)
	for _, c := range one {
		c.SOAPClient.HTTPClient = *client
		out = append(out, c)
	}
	ppp, _ := internetgateway2.NewWANPPPConnection1ClientsFromRootDevice(root, at)
	for _, c := range ppp {
		c.SOAPClient.HTTPClient = *client
		out = append(out, c)
	}
	return out
}

// search asks for gateways and returns where ours describes itself.
func (u *upnp) search(ctx context.Context, p place) ([]*url.URL, error) {
	var lc net.ListenConfig
	pc, err := lc.ListenPacket(ctx, "udp4", netip.AddrPortFrom(p.local, 0).String())
	if err != nil {
		return nil, err
	}
	defer func() { _ = pc.Close() }()
	stop := context.AfterFunc(ctx, func() { _ = pc.Close() })
	defer stop()
	var found []*url.URL
	read := 0
	for range searchSends {
		if err := u.ask(pc, p); err != nil {
			return nil, err
		}
		_ = pc.SetReadDeadline(time.Now().Add(searchTime / searchSends))
		b := make([]byte, 2048)
		for read < maxAnswers && len(found) < maxLocations {
			n, from, err := pc.ReadFrom(b)
			if err != nil {
				break
			}
			read++
			at := location(b[:n], from, p.gateway)
			if at != nil && !slices.ContainsFunc(found, func(o *url.URL) bool { return o.String() == at.String() }) {
				found = append(found, at)
			}
		}
		if len(found) > 0 || ctx.Err() != nil {
			break
		}
	}
	return found, nil
}

// searchTargets are what gateways call themselves. All that answers is looked at
// anyway.
var searchTargets = []string{
	"urn:schemas-upnp-org:device:InternetGatewayDevice:1",
	"urn:schemas-upnp-org:device:InternetGatewayDevice:2",
	"upnp:rootdevice",
}

// ask sends a search to the gateway, and to all, as some answer only one of
// both. It fails if nothing can be sent.
func (u *upnp) ask(pc net.PacketConn, p place) (err error) {
	sent := false
	for _, target := range searchTargets {
		request := "M-SEARCH * HTTP/1.1\r\nHOST: " + u.ssdp.String() + "\r\nMAN: \"ssdp:discover\"\r\nMX: 1\r\nST: " + target + "\r\n\r\n"
		for _, to := range []netip.AddrPort{netip.AddrPortFrom(p.gateway, u.ssdp.Port()), u.ssdp} {
			if _, e := pc.WriteTo([]byte(request), net.UDPAddrFromAddrPort(to)); e != nil {
				err = e
			} else {
				sent = true
			}
		}
	}
	if sent {
		return nil
	}
	return err
}

// location reads an answer to a search. It is nil unless the gateway itself
// says that its description is at the gateway.
func location(b []byte, from net.Addr, gateway netip.Addr) *url.URL {
	udp, ok := from.(*net.UDPAddr)
	if !ok || udp.AddrPort().Addr().Unmap() != gateway {
		return nil
	}
	resp, err := http.ReadResponse(bufio.NewReader(bytes.NewReader(b)), nil)
	if err != nil {
		return nil
	}
	_ = resp.Body.Close()
	at, err := url.Parse(resp.Header.Get("Location"))
	if err != nil || resp.StatusCode != http.StatusOK || at.Scheme != "http" || at.Hostname() != gateway.String() {
		return nil
	}
	return at
}

// describe fetches a gateway's description.
func describe(ctx context.Context, client *http.Client, at *url.URL) (*goupnp.RootDevice, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, at.String(), nil)
	if err != nil {
		return nil, err
	}
	resp, err := client.Do(req)
	if err != nil {
		return nil, err
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%v answers %s", at, resp.Status)
	}
	root := new(goupnp.RootDevice)
	d := xml.NewDecoder(resp.Body)
	d.DefaultSpace = goupnp.DeviceXMLNamespace
	if err := d.Decode(root); err != nil {
		return nil, err
	}
	base := at
	if root.URLBaseStr != "" {
		if base, err = url.Parse(root.URLBaseStr); err != nil {
			return nil, err
		}
	}
	root.SetURLBase(base)
	return root, nil
}

// httpClient returns a client that talks to the gateway and to nobody else, and
// reads no more than it should.
func httpClient(p place) *http.Client {
	d := net.Dialer{LocalAddr: net.TCPAddrFromAddrPort(netip.AddrPortFrom(p.local, 0))}
	return &http.Client{
		Timeout:       httpTimeout,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Transport: limited{&http.Transport{
			DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
				if to, err := netip.ParseAddrPort(address); err != nil || to.Addr() != p.gateway {
					return nil, fmt.Errorf("%s is not the gateway %v", address, p.gateway)
				}
				return d.DialContext(ctx, network, address)
			},
			DisableKeepAlives:      true,
			DisableCompression:     true, // what is short on the wire must not become long
			MaxResponseHeaderBytes: maxHeader,
		}},
	}
}

// limited cuts bodies off.
type limited struct{ http.RoundTripper }

func (l limited) RoundTrip(req *http.Request) (*http.Response, error) {
	resp, err := l.RoundTripper.RoundTrip(req)
	if err == nil {
		resp.Body = struct {
			io.Reader
			io.Closer
		}{io.LimitReader(resp.Body, maxXML), resp.Body}
	}
	return resp, err
}
