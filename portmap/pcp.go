package portmap

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"
)

// pcp is a client of the Port Control Protocol, RFC 6887, for MAP requests. No
// library for it is kept.
type pcp struct {
	nonce [12]byte // of the mapping, in all requests for it
}

const (
	pcpVersion = 2
	pcpMap     = 1
	pcpReply   = 0x80
	pcpLen     = 24 + 36 // header and MAP
	pcpMax     = 1100    // section 7
	pmpPort    = 5351    // also NAT-PMP's
	protoUDP   = 17
	firstRetx  = 250 * time.Millisecond // shorter than section 8.1.1 has it, as NAT-PMP: it is on the local network
)

func (*pcp) name() string { return "PCP" }

func (c *pcp) acquire(ctx context.Context, p place, last uint16) (netip.AddrPort, time.Duration, error) {
	if last == 0 || c.nonce == ([12]byte{}) {
		_, _ = rand.Read(c.nonce[:]) // never fails
	}
	if last == 0 {
		last = p.port // the same outside is the best for everybody
	}
	r, err := c.exchange(ctx, p, last, p.lifetime)
	if err == nil && r.lifetime == 0 {
		err = errors.New("the gateway granted a mapping for no time")
	}
	return r.external, r.lifetime, err
}

func (c *pcp) release(ctx context.Context, p place, _ uint16) error {
	_, err := c.exchange(ctx, p, 0, 0)
	return err
}

// exchange sends a MAP request until it is answered.
func (c *pcp) exchange(ctx context.Context, p place, external uint16, lifetime time.Duration) (pcpResponse, error) {
	ctx, cancel := context.WithTimeout(ctx, exchangeTimeout)
	defer cancel()
	d := net.Dialer{LocalAddr: net.UDPAddrFromAddrPort(netip.AddrPortFrom(p.local, 0))}
	conn, err := d.DialContext(ctx, "udp4", netip.AddrPortFrom(p.gateway, pmpPort).String())
	if err != nil {
		return pcpResponse{}, err
	}
	defer func() { _ = conn.Close() }()
	stop := context.AfterFunc(ctx, func() { _ = conn.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	request := c.request(p, external, lifetime)
	b := make([]byte, pcpMax)
	for wait := firstRetx; ; wait *= 2 {
		if _, err := conn.Write(request); err != nil {
			return pcpResponse{}, err
		}
		_ = conn.SetReadDeadline(time.Now().Add(wait))
		if ctx.Err() != nil { // what it set was overwritten
			return pcpResponse{}, errNoAnswer
		}
		for {
			n, err := conn.Read(b)
			if timeout, ok := errors.AsType[net.Error](err); ok && timeout.Timeout() {
				break
			}
			if err != nil {
				return pcpResponse{}, err // nobody listens there
			}
			if r, ours, err := c.parse(b[:n], p); ours {
				return r, err
			}
		}
		if ctx.Err() != nil {
			return pcpResponse{}, errNoAnswer
		}
	}
}

var errNoAnswer = errors.New("the gateway does not answer")

// request is a MAP request, section 7.1 and 11.1.
func (c *pcp) request(p place, external uint16, lifetime time.Duration) []byte {
	local := p.local.As16()
	b := make([]byte, 0, pcpLen)
	b = append(b, pcpVersion, pcpMap, 0, 0)
	b = binary.BigEndian.AppendUint32(b, uint32(lifetime/time.Second))
	b = append(b, local[:]...)
	b = append(b, c.nonce[:]...)
	b = append(b, protoUDP, 0, 0, 0)
	b = binary.BigEndian.AppendUint16(b, p.port)
	b = binary.BigEndian.AppendUint16(b, external)
	anyIPv4 := netip.AddrFrom4([4]byte{}).As16()
	return append(b, anyIPv4[:]...)
}

type pcpResponse struct {
	external netip.AddrPort
	lifetime time.Duration
}

// parse reads a response; ours is false for what answers something else.
func (c *pcp) parse(b []byte, p place) (r pcpResponse, ours bool, err error) {
	switch {
	case len(b) < 4:
		return r, false, nil
	case b[0] != pcpVersion:
		return r, true, fmt.Errorf("the gateway speaks version %d and not %d", b[0], pcpVersion)
	case b[1] != pcpReply|pcpMap || len(b) > pcpMax:
		return r, false, nil
	case len(b) < pcpLen:
		if b[3] != 0 { // such errors need not repeat the request
			return r, true, fmt.Errorf("the gateway refuses with result %d", b[3])
		}
		return r, false, nil
	case [12]byte(b[24:36]) != c.nonce || b[36] != protoUDP || binary.BigEndian.Uint16(b[40:]) != p.port:
		return r, false, nil
	case b[3] != 0:
		return r, true, fmt.Errorf("the gateway refuses with result %d", b[3])
	}
	r.lifetime = time.Duration(binary.BigEndian.Uint32(b[4:])) * time.Second
	r.external = netip.AddrPortFrom(netip.AddrFrom16([16]byte(b[44:60])).Unmap(), binary.BigEndian.Uint16(b[42:]))
	return r, true, nil
}
