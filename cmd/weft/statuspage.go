package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync/atomic"

	"github.com/sirupsen/logrus"
	"github.com/spf13/cobra"

	"github.com/weftnet/weft/cmd/weft/internal/webpage"
)

const (
	// noStatusPage, said instead of an address, is for no page.
	noStatusPage = "none"
	// ownStatusAddr is where the page is if nobody says where. The system picks the
	// port, so that several nodes run on one machine.
	ownStatusAddr = "127.0.0.1:0"
)

// A statusPage is the part of a command line that says where the status page is.
type statusPage struct {
	statusAddr string
	url        atomic.Pointer[string] // nil while there is none
}

func (p *statusPage) statusFlag(cmd *cobra.Command) {
	cmd.Flags().StringVar(&p.statusAddr, "status-addr", "",
		"`address` of the status page, or none; without a token only if that is a loopback address, such as 127.0.0.1:8080 (default a port of 127.0.0.1, with a token; weft status shows both)")
}

// checkStatus refuses an address that is none.
func (p *statusPage) checkStatus(cmd *cobra.Command) error {
	if p.statusAddr == "" || p.statusAddr == noStatusPage {
		return nil
	}
	if _, _, err := net.SplitHostPort(p.statusAddr); err != nil {
		return usage(cmd, fmt.Errorf("where shall the status page be? Say --status-addr HOST:PORT, or %s: %w", noStatusPage, err))
	}
	return nil
}

// serveStatus serves the page until stop is called. A page that nobody has asked for is no reason
// not to run.
func (p *statusPage) serveStatus(ctx context.Context, handler http.Handler, logger logrus.FieldLogger) (stop func(), err error) {
	cfg := webpage.Config{Handler: handler, Addr: p.statusAddr, Logger: logger}
	asked := p.statusAddr != ""
	switch p.statusAddr {
	case noStatusPage:
		return func() {}, nil
	case "":
		cfg.Addr, cfg.Token = ownStatusAddr, true // other users of the machine can reach it
	}
	s, err := webpage.Serve(ctx, cfg)
	switch {
	case err != nil && !asked:
		logger.WithError(err).Info("no status page")
		return func() {}, nil
	case err != nil:
		return nil, errors.Join(err, errors.New("say another --status-addr, or none"))
	}
	p.url.Store(new(s.URL()))
	return s.Close, nil
}

// address is where the page is, empty if there is none.
func (p *statusPage) address() string {
	if url := p.url.Load(); url != nil {
		return *url
	}
	return ""
}

// announcePage says where the page is that somebody has asked for.
func (p *statusPage) announcePage(w io.Writer) error {
	if p.statusAddr == "" || p.address() == "" {
		return nil
	}
	_, err := fmt.Fprintf(w, "status page at %s\n", p.address())
	return err
}
