package tunnel

import (
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"

	"github.com/weftnet/weft/listener"
)

// Any is the target of a remote Spec whose dialler names the target.
const Any = "*"

// A Spec says what is forwarded where. ParseLocal and ParseRemote read one.
type Spec struct {
	Remote bool // from a port of the node to a target here; else from a port here to a node
	UDP    bool
	Listen string // host:port here, or the port of the node
	// Target is where to: node:port, host:port if Remote, Any, or empty for a
	// local port on which programs name the target by SOCKS or HTTP.
	Target string
	// Via is the host:port that the node is asked to dial, which is at Target with
	// a remote Spec whose own target is Any. Only if not Remote; may be empty.
	Via string
}

// ParseLocal reads [udp/][bind:]port=node:port[/host:port], or [bind:]port alone for
// SOCKS and HTTP.
func ParseLocal(text string) (Spec, error) {
	s := Spec{}
	listen, target, hasTarget := strings.Cut(text, "=")
	listen, s.UDP = strings.CutPrefix(listen, "udp/")
	var err error
	if s.Listen, err = bindAddr(listen); err != nil {
		return s, bad(text, err)
	}
	if !hasTarget {
		if s.UDP {
			return s, bad(text, errors.New("UDP needs a target: udp/PORT=NODE:PORT"))
		}
		return s, nil
	}
	s.Target, s.Via, _ = strings.Cut(target, "/")
	if _, _, err := listener.ParseAddr(s.Target); err != nil {
		return s, bad(text, fmt.Errorf("the target is not NODE:PORT: %w", err))
	}
	if s.Via == "" && !strings.Contains(target, "/") {
		return s, nil
	}
	if s.UDP {
		return s, bad(text, errors.New("a target behind a node is for TCP only"))
	}
	if err := checkTarget(s.Via); err != nil {
		return s, bad(text, err)
	}
	return s, nil
}

// ParseRemote reads [udp/]port=host:port, or port=* for targets that diallers name.
func ParseRemote(text string) (Spec, error) {
	s := Spec{Remote: true}
	listen, target, _ := strings.Cut(text, "=")
	listen, s.UDP = strings.CutPrefix(listen, "udp/")
	port, err := strconv.ParseUint(listen, 10, 16)
	if err != nil {
		return s, bad(text, fmt.Errorf("%.20q is no port of the overlay: want a number from 0 to 65535", listen))
	}
	s.Listen, s.Target = strconv.FormatUint(port, 10), target
	switch {
	case target == Any && s.UDP:
		return s, bad(text, errors.New("targets that diallers name are for TCP only"))
	case target == Any:
		return s, nil
	}
	if err := checkTarget(target); err != nil {
		return s, bad(text, err)
	}
	return s, nil
}

func bad(text string, err error) error {
	return fmt.Errorf("%.200q cannot be forwarded: %w", text, err)
}

// bindAddr is where a local port listens: on loopback unless the bind address says
// something else, such as * for all.
func bindAddr(text string) (string, error) {
	host, port := "127.0.0.1", text
	if i := strings.LastIndexByte(text, ':'); i >= 0 {
		var err error
		if host, port, err = net.SplitHostPort(text); err != nil {
			return "", err
		}
		if host == "*" {
			host = ""
		}
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil {
		return "", fmt.Errorf("%.20q is no port: want a number from 0 to 65535", port)
	} else if port != strconv.FormatUint(n, 10) {
		return "", fmt.Errorf("%.20q is no port: write it as %d", port, n)
	}
	return net.JoinHostPort(host, port), nil
}

// checkTarget reports what is wrong with a host:port to dial.
func checkTarget(target string) error {
	host, port, err := net.SplitHostPort(target)
	if err != nil {
		return fmt.Errorf("the target is not HOST:PORT: %w", err)
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
		return fmt.Errorf("%.20q is no port to dial: want a number from 1 to 65535", port)
	}
	if host == "" {
		return errors.New("the target has no host; for this machine say 127.0.0.1")
	}
	return nil
}

// String is the Spec as on a command line.
func (s Spec) String() string {
	text := s.Listen
	if s.UDP {
		text = "udp/" + text
	}
	if s.Target != "" {
		text += "=" + s.Target
	}
	if s.Via != "" {
		text += "/" + s.Via
	}
	return text
}
