package tunnel

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"path"
	"strconv"
	"strings"
)

// Targets are the targets that diallers may name: closed unless a pattern opens them.
// The zero value allows none.
type Targets struct {
	patterns []pattern
}

// A pattern is a host, as a name with wildcards or as a prefix of addresses, and a
// range of ports.
type pattern struct {
	name        string
	prefix      netip.Prefix // valid if name is empty
	first, last uint16
}

// ParseTargets reads patterns: host:port, where the host is a name, in which * stands for
// any number of characters but dots, or an address, or a prefix such as 10.0.0.0/8; and
// the port is a number, a range such as 8000-8099, or *. An address that somebody names
// is never matched by a name, nor a name by what it resolves to.
func ParseTargets(texts []string) (Targets, error) {
	var t Targets
	for _, text := range texts {
		p, err := parsePattern(text)
		if err != nil {
			return t, fmt.Errorf("%.100q is no pattern for targets: %w", text, err)
		}
		t.patterns = append(t.patterns, p)
	}
	return t, nil
}

func parsePattern(text string) (pattern, error) {
	var p pattern
	i := strings.LastIndexByte(text, ':')
	if i < 0 {
		return p, errors.New("want HOST:PORT, such as db.example.org:5432 or 10.0.0.0/8:*")
	}
	host, ports := strings.Trim(text[:i], "[]"), text[i+1:]
	switch first, last, isRange := strings.Cut(ports, "-"); {
	case ports == Any:
		p.first, p.last = 1, 65535
	case !isRange:
		last = first
		fallthrough
	default:
		a, aerr := strconv.ParseUint(first, 10, 16)
		b, berr := strconv.ParseUint(last, 10, 16)
		if aerr != nil || berr != nil || a == 0 || b < a {
			return p, fmt.Errorf("%.20q is neither a port, nor a range of ports, nor *", ports)
		}
		p.first, p.last = uint16(a), uint16(b)
	}
	if host == "" {
		return p, errors.New("want HOST:PORT, such as db.example.org:5432 or 10.0.0.0/8:*")
	}
	if addr, err := netip.ParseAddr(host); err == nil {
		p.prefix = netip.PrefixFrom(addr.Unmap(), addr.Unmap().BitLen())
		return p, nil
	}
	if prefix, err := netip.ParsePrefix(host); err == nil {
		p.prefix = prefix.Masked()
		return p, nil
	}
	p.name = strings.ToLower(strings.TrimSuffix(host, "."))
	if _, err := path.Match(p.name, ""); err != nil || strings.ContainsAny(p.name, "/\\") {
		return p, errors.New("the host is neither a name, nor an address, nor a prefix of addresses")
	}
	return p, nil
}

// Check returns an error that says what to do if a target is not allowed.
func (t Targets) Check(host string, port uint16) error {
	for _, p := range t.patterns {
		if p.matches(host, port) {
			return nil
		}
	}
	return fmt.Errorf("%w: %s is not among the targets that may be named; whoever runs the forward can say --allow-target %[2]s", ErrTarget,
		net.JoinHostPort(host, strconv.Itoa(int(port))))
}

// ErrTarget means that a target may not be named.
var ErrTarget = errors.New("target refused")

func (p pattern) matches(host string, port uint16) bool {
	if port < p.first || port > p.last {
		return false
	}
	if p.name == Any {
		return true
	}
	if addr, err := netip.ParseAddr(host); err == nil {
		return p.name == "" && p.prefix.Contains(addr.Unmap().WithZone(""))
	}
	if p.name == "" {
		return false
	}
	// path.Match keeps * within what slashes separate.
	name := strings.ReplaceAll(strings.ToLower(strings.TrimSuffix(host, ".")), ".", "/")
	ok, _ := path.Match(strings.ReplaceAll(p.name, ".", "/"), name)
	return ok
}
