package main

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"math/big"
	"net"
	"time"
)

// tlsTransport is crypto/tls over TCP, with the certificates and the key
// exchange that weft uses too: the price of encryption by itself.
type tlsTransport struct{}

func (tlsTransport) Name() string { return "tls" }

func (tlsTransport) Start(ctx context.Context) (Pairs, error) {
	cert, err := selfSigned()
	if err != nil {
		return nil, err
	}
	roots := x509.NewCertPool()
	roots.AddCert(cert.Leaf)
	tcp, err := listenTCP(ctx)
	if err != nil {
		return nil, err
	}
	return &tlsPairs{
		tcpPairs: tcp,
		client:   &tls.Config{RootCAs: roots, ServerName: tlsName, Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS13},
		server:   &tls.Config{ClientCAs: roots, ClientAuth: tls.RequireAndVerifyClientCert, Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS13},
	}, nil
}

const tlsName = "bench"

type tlsPairs struct {
	*tcpPairs
	client, server *tls.Config
}

func (p *tlsPairs) Open(ctx context.Context) (client, server net.Conn, err error) {
	rawClient, rawServer, err := p.tcpPairs.Open(ctx)
	if err != nil {
		return nil, nil, err
	}
	c, s := tls.Client(rawClient, p.client), tls.Server(rawServer, p.server)
	done := make(chan error, 1)
	go func() { done <- s.HandshakeContext(ctx) }()
	err = c.HandshakeContext(ctx)
	if err != nil {
		_ = rawClient.Close() // ends the server's half of the handshake
	}
	if err = errors.Join(err, <-done); err != nil {
		_, _ = rawClient.Close(), rawServer.Close()
		return nil, nil, err
	}
	return c, s, nil
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
