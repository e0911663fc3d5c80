//go:build unix

package integration

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/weftnet/weft/overlay"
)

// A front is nginx with TLS in front of a relay, as one would set it up.
type front struct {
	*lab
	program string
	running *process
	dir     string // of its files
	addr    string // host:port
	trust   *tls.Config
}

// nginxHead begins a configuration, up to its servers. It is told a directory, where
// everything is that nginx writes, and a user directive.
const nginxHead = `
daemon off;
master_process off;
%[2]s
pid %[1]s/nginx.pid;
error_log stderr;
events { worker_connections 512; }
http {
	access_log off;
	client_body_temp_path %[1]s/body;
	proxy_temp_path %[1]s/proxy;
	fastcgi_temp_path %[1]s/fastcgi;
	uwsgi_temp_path %[1]s/uwsgi;
	scgi_temp_path %[1]s/scgi;
`

// nginxConfig is told, behind that, the address to listen on and the relay's.
const nginxConfig = nginxHead + `
	server {
		listen %[3]s ssl;
		ssl_certificate %[1]s/cert.pem;
		ssl_certificate_key %[1]s/key.pem;
		location /link {
			proxy_pass http://%[4]s;
			proxy_http_version 1.1;
			proxy_set_header Upgrade $http_upgrade;
			proxy_set_header Connection "upgrade";
			proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
		}
	}
}
`

// newFront starts nginx in front of a relay.
func (l *lab) newFront(relay string) *front {
	l.t.Helper()
	nginx, err := exec.LookPath("nginx")
	if err != nil {
		nginx = "/usr/sbin/nginx" // which is not in everybody's path
		if _, err := os.Stat(nginx); err != nil {
			l.t.Skip("nginx is not installed")
		}
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		l.t.Fatal(err)
	}
	f := &front{lab: l, program: nginx, dir: l.t.TempDir(), addr: ln.Addr().String()}
	_ = ln.Close()
	f.trust = &tls.Config{RootCAs: f.certify()}
	user := ""
	if os.Geteuid() == 0 {
		user = "user root;" // others may not read the directory
	}
	f.write("nginx.conf", fmt.Sprintf(nginxConfig, f.dir, user, f.addr, relay))
	f.run()
	return f
}

// certify makes a certificate authority and a certificate for the front.
func (f *front) certify() *x509.CertPool {
	f.t.Helper()
	ca := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "the test's authority"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	leaf := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "the test's front"},
		NotBefore: ca.NotBefore, NotAfter: ca.NotAfter,
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, DNSNames: []string{"relay.test"},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	caKey, leafKey := f.key(), f.key()
	caDER, err := x509.CreateCertificate(rand.Reader, ca, ca, caKey.Public(), caKey)
	if err != nil {
		f.t.Fatal(err)
	}
	leafDER, err := x509.CreateCertificate(rand.Reader, leaf, ca, leafKey.Public(), caKey)
	if err != nil {
		f.t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(leafKey)
	if err != nil {
		f.t.Fatal(err)
	}
	f.write("ca.pem", string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: caDER})))
	f.write("cert.pem", string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: leafDER})))
	f.write("key.pem", string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER})))
	parsed, err := x509.ParseCertificate(caDER)
	if err != nil {
		f.t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(parsed)
	return pool
}

func (f *front) key() *ecdsa.PrivateKey {
	f.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		f.t.Fatal(err)
	}
	return key
}

func (f *front) write(name, content string) {
	f.t.Helper()
	if err := os.WriteFile(filepath.Join(f.dir, name), []byte(content), 0o600); err != nil {
		f.t.Fatal(err)
	}
}

// run starts nginx, for the first time or again, and waits until it answers.
func (f *front) run() {
	f.t.Helper()
	f.running = f.start("nginx", exec.Command(f.program, "-p", f.dir, "-e", "stderr", "-c", filepath.Join(f.dir, "nginx.conf")))
	if err := eventually(f.ctx, func() bool {
		c, err := (&tls.Dialer{Config: f.trust}).DialContext(f.ctx, "tcp", f.addr)
		if err != nil {
			return false
		}
		_ = c.Close()
		return true
	}); err != nil {
		f.t.Fatalf("nginx does not answer: %v\n%s", err, f.running.log)
	}
}

// node is a node whose only way is the front.
func (f *front) node() *overlay.Node {
	f.t.Helper()
	node := f.lab.node(overlay.Config{Relays: []string{"wss://" + f.addr}, LinkTLS: f.trust})
	if err := attached(f.ctx, node); err != nil {
		f.t.Fatal(err)
	}
	return node
}

// fetch gets a page of a server over HTTP/2.
func (l *lab) fetch(node *overlay.Node, server serverProcess) {
	l.t.Helper()
	client := &http.Client{Transport: node.HTTPTransport()}
	defer client.CloseIdleConnections()
	req, err := http.NewRequestWithContext(l.ctx, http.MethodGet, "http://"+server.id.String()+"/page", nil)
	if err != nil {
		l.t.Fatal(err)
	}
	resp, err := client.Do(req)
	if err != nil {
		l.t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if want := "GET /page for " + node.ID().String(); err != nil || resp.Proto != "HTTP/2.0" || !strings.HasPrefix(string(body), want) {
		l.t.Errorf("%s %q, %v; want %q", resp.Proto, body, err, want)
	}
}

func TestANodeBehindAWebServerReachesOthers(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	relay := l.relay()
	server := l.server() // on tcp://
	f := l.newFront(relay.addr)
	node := f.node()
	l.fetch(node, server)
	l.finish(l.begin(l.dial(node, server.addr(portSource)), interruptedSize))
}

func TestAStreamSurvivesThatTheWebServerIsKilledAndRestarted(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	relay := l.relay()
	server := l.server()
	f := l.newFront(relay.addr)
	transfer := l.begin(l.dial(f.node(), server.addr(portSource)), interruptedSize)
	l.awaitBegun(transfer)
	f.running.kill()
	l.notDone(transfer)
	f.run()
	back := time.Now()
	l.finish(transfer)
	t.Logf("silent until %v after nginx was back", transfer.resumed.Sub(back).Round(time.Millisecond))
}

func TestAWebServerThatDoesNotReachTheRelaySaysSo(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	relay := l.relay()
	f := l.newFront(relay.addr)
	relay.kill()
	node := l.node(overlay.Config{Relays: []string{"wss://" + f.addr}, LinkTLS: f.trust})
	if err := eventually(l.ctx, func() bool {
		err := node.Status().Relays[0].Err
		return err != nil && strings.Contains(err.Error(), "502 Bad Gateway") && strings.Contains(err.Error(), "check that the relay runs")
	}); err != nil {
		t.Errorf("the node says %v", node.Status().Relays[0].Err)
	}
	stranger := l.node(overlay.Config{Relays: []string{"wss://" + f.addr}, LinkTLS: &tls.Config{RootCAs: x509.NewCertPool()}})
	ctx, cancel := context.WithTimeout(l.ctx, time.Second)
	defer cancel()
	if err := stranger.WaitReady(ctx); err == nil || !strings.Contains(err.Error(), "trust its issuer") {
		t.Errorf("a node that does not trust the certificate says %v", err)
	}
}

// Other relays, too, are reached through web servers, whose certificates the
// system vouches for.
func TestARelayHasAPeerBehindAWebServer(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	first := l.relay()
	server := l.server()
	f := l.newFront(first.addr)
	addrFile := filepath.Join(t.TempDir(), "addr")
	trust := []string{"SSL_CERT_FILE=" + filepath.Join(f.dir, "ca.pem")}
	l.weftWith(trust, "relay", "--listen", "127.0.0.1:0", "--addr-file", addrFile, "--grace", "1s", "--peer", "wss://"+f.addr)
	l.relays = []string{l.awaitFile(addrFile)}
	node := l.joined()
	var last error
	if err := eventually(l.ctx, func() bool {
		c, err := node.Dial(l.ctx, server.addr(portEcho))
		if last = err; err != nil {
			return false
		}
		l.speak(c)
		_ = c.Close()
		return true
	}); err != nil {
		t.Fatalf("%v: %v", err, last)
	}
	l.fetch(node, server)
	l.weftWith(trust, "get", "--relay", "wss://"+f.addr, "http://"+server.id.String()+"/page").exit(l.ctx)
}
