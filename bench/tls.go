package main

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"math/big"
	"net"
	"time"
)

// tlsTransport is crypto/tls over TCP, with the certificates and the key
// exchange that weft uses too: the price of encryption by itself.
type tlsTransport struct{}

func (tlsTransport) Name() string { return "tls" }

func (tlsTransport) Serve(ctx context.Context) (Server, error) { return listenTLS(ctx) }

func (tlsTransport) Client(_ context.Context, addr string) (Client, error) { return newTLSClient(addr) }

const tlsName = "bench"

// tlsServer accepts TLS conns; both ends show one certificate.
type tlsServer struct {
	tcpServer
	cert   tls.Certificate
	config *tls.Config
}

func listenTLS(ctx context.Context) (*tlsServer, error) {
	cert, err := selfSigned()
	if err != nil {
		return nil, err
	}
	tcp, err := listenTCP(ctx)
	if err != nil {
		return nil, err
	}
	return &tlsServer{tcp, cert, &tls.Config{
		ClientCAs: rootsOf(cert), ClientAuth: tls.RequireAndVerifyClientCert,
		Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS13,
	}}, nil
}

// Addr has the certificate and its key beside the TCP address.
func (s *tlsServer) Addr() string {
	return fmt.Sprintf("%s %x %x", s.tcpServer.Addr(), s.cert.Certificate[0], s.cert.PrivateKey.(ed25519.PrivateKey))
}

func (s *tlsServer) Accept() (net.Conn, error) {
	raw, err := s.tcpServer.Accept()
	if err != nil {
		return nil, err
	}
	c := tls.Server(raw, s.config)
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := c.HandshakeContext(ctx); err != nil {
		return nil, errors.Join(err, raw.Close())
	}
	return c, nil
}

type tlsClient struct {
	tcpClient
	config *tls.Config
}

func newTLSClient(addr string) (c *tlsClient, err error) {
	var tcp, certHex, keyHex string
	if _, err := fmt.Sscan(addr, &tcp, &certHex, &keyHex); err != nil {
		return nil, err
	}
	der, err := hex.DecodeString(certHex)
	if err != nil {
		return nil, err
	}
	key, err := hex.DecodeString(keyHex)
	if err != nil {
		return nil, err
	}
	cert := tls.Certificate{Certificate: [][]byte{der}, PrivateKey: ed25519.PrivateKey(key)}
	if cert.Leaf, err = x509.ParseCertificate(der); err != nil {
		return nil, err
	}
	return &tlsClient{tcpClient(tcp), &tls.Config{
		RootCAs: rootsOf(cert), ServerName: tlsName,
		Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS13,
	}}, nil
}

func (c *tlsClient) Dial(ctx context.Context) (net.Conn, error) {
	raw, err := c.tcpClient.Dial(ctx)
	if err != nil {
		return nil, err
	}
	conn := tls.Client(raw, c.config)
	if err := conn.HandshakeContext(ctx); err != nil {
		return nil, errors.Join(err, raw.Close())
	}
	return conn, nil
}

func rootsOf(cert tls.Certificate) *x509.CertPool {
	roots := x509.NewCertPool()
	roots.AddCert(cert.Leaf)
	return roots
}

// selfSigned makes the certificate that both ends show and trust.
func selfSigned() (tls.Certificate, error) {
	pub, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return tls.Certificate{}, err
	}
	template := &x509.Certificate{
		SerialNumber:          big.NewInt(1),
		DNSNames:              []string{tlsName},
		NotAfter:              time.Now().Add(time.Hour),
		IsCA:                  true,
		BasicConstraintsValid: true,
		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, pub, key)
	if err != nil {
		return tls.Certificate{}, err
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		return tls.Certificate{}, err
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}, nil
}
