package lan

import (
	"bytes"
	"errors"
	"strings"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

const (
	service = "_weft._udp.local."
	// marker is in each packet that has the service's name, compressed or not.
	marker = "\x05_weft"
	// flush marks records of which nobody else has any, in their class (RFC
	// 6762 section 10.2). In a question the same bit asks for unicast.
	flush = 1 << 15
	// maxString is the longest string in a TXT record.
	maxString = 255
)

// textKeys name the pieces of the sealed claim in the TXT record; RFC 6763
// section 6.4 wants names of attributes, each used once.
var textKeys = [...]string{"a=", "b="}

// A message is what a packet says to this node.
type message struct {
	asks      bool // for this node's records
	truncated bool // more known answers follow
	known     bool // the asker knows this node, and not only for moments more
	disowned  bool // somebody says that this node is gone
	cut       bool // not all was read
	found     []found
}

// A found is a TXT record of another node.
type found struct {
	instance string
	ttl      time.Duration
	sealed   []byte
}

// instanceName is the name of an instance's records.
func instanceName(instance string) string { return instance + "." + service }

// parse reads a packet, as the node with that instance.
func parse(b []byte, self string) (message, error) {
	var p dnsmessage.Parser
	var m message
	h, err := p.Start(b)
	switch {
	case err != nil:
		return m, err
	case h.OpCode != 0 || h.RCode != dnsmessage.RCodeSuccess: // RFC 6762 sections 18.3 and 18.11
		return m, errors.New("lan: not a message of multicast DNS")
	}
	m.truncated = h.Truncated
	parts, err := m.questions(&p, instanceName(self), h.Response)
	if err != nil {
		return m, err
	}
	for ; parts < maxParts; parts++ {
		rh, err := p.AnswerHeader()
		if errors.Is(err, dnsmessage.ErrSectionDone) {
			return m, m.additionals(&p, self, parts, h.Response)
		}
		if err != nil {
			return m, err
		}
		if err := m.record(&p, rh, self, h.Response); err != nil {
			return m, err
		}
	}
	m.cut = true
	return m, nil
}

// questions reads them, and returns how many there were. Those of a response
// count for nothing.
func (m *message) questions(p *dnsmessage.Parser, own string, response bool) (int, error) {
	for n := range maxParts {
		q, err := p.Question()
		if errors.Is(err, dnsmessage.ErrSectionDone) {
			return n, nil
		}
		if err != nil {
			return n, err
		}
		if c := q.Class &^ flush; response || c != dnsmessage.ClassINET && c != dnsmessage.ClassANY {
			continue
		}
		name := q.Name.String()
		switch q.Type {
		case dnsmessage.TypePTR:
			m.asks = m.asks || strings.EqualFold(name, service)
		case dnsmessage.TypeSRV, dnsmessage.TypeTXT:
			m.asks = m.asks || strings.EqualFold(name, own)
		case dnsmessage.TypeALL:
			m.asks = m.asks || strings.EqualFold(name, service) || strings.EqualFold(name, own)
		}
	}
	return maxParts, p.SkipAllQuestions()
}

// additionals reads the section where other implementations may put TXT records
// (RFC 6763 section 12.1).
func (m *message) additionals(p *dnsmessage.Parser, self string, parts int, response bool) error {
	if !response {
		return nil
	}
	if err := p.SkipAllAuthorities(); err != nil {
		return err
	}
	for ; parts < maxParts; parts++ {
		rh, err := p.AdditionalHeader()
		if errors.Is(err, dnsmessage.ErrSectionDone) {
			return nil
		}
		if err != nil {
			return err
		}
		if rh.Type != dnsmessage.TypeTXT {
			if err := p.SkipAdditional(); err != nil {
				return err
			}
			continue
		}
		if err := m.text(p, rh, self); err != nil {
			return err
		}
	}
	m.cut = true
	return nil
}

// record reads a record of the answer section: in a query, a known answer.
func (m *message) record(p *dnsmessage.Parser, h dnsmessage.ResourceHeader, self string, response bool) error {
	switch {
	case h.Class&^flush != dnsmessage.ClassINET:
	case h.Type == dnsmessage.TypePTR && h.Name.String() == service:
		r, err := p.PTRResource()
		if err != nil {
			return err
		}
		if r.PTR.String() == instanceName(self) {
			m.disowned = m.disowned || response && h.TTL == 0
			m.known = m.known || !response && h.TTL >= uint32(ttl/time.Second)/2 // RFC 6762 section 7.1
		}
		return nil
	case h.Type == dnsmessage.TypeTXT && response:
		return m.text(p, h, self)
	}
	return p.SkipAnswer()
}

// text reads a TXT record.
func (m *message) text(p *dnsmessage.Parser, h dnsmessage.ResourceHeader, self string) error {
	r, err := p.TXTResource()
	if err != nil {
		return err
	}
	instance, ok := strings.CutSuffix(h.Name.String(), "."+service)
	if !ok || instance == self {
		m.disowned = m.disowned || ok && h.TTL == 0
		return nil
	}
	if len(m.found) == maxFound {
		m.cut = true
		return nil
	}
	var sealed []byte
	for _, key := range textKeys {
		for _, s := range r.TXT {
			if v, ok := strings.CutPrefix(s, key); ok {
				sealed = append(sealed, v...)
				break
			}
		}
	}
	m.found = append(m.found, found{instance, time.Duration(h.TTL) * time.Second, sealed})
	return nil
}

// ours reports whether a packet may speak of the service, without parsing it.
func ours(b []byte) bool { return bytes.Contains(b, []byte(marker)) }

// records returns the packet with all records of an instance.
func records(instance string, port uint16, sealed []byte, ttl time.Duration) ([]byte, error) {
	name, err := dnsmessage.NewName(instanceName(instance))
	if err != nil {
		return nil, err
	}
	target, err := dnsmessage.NewName(instance + ".local.")
	if err != nil {
		return nil, err
	}
	var text []string
	for _, key := range textKeys {
		n := min(len(sealed), maxString-len(key))
		text = append(text, key+string(sealed[:n]))
		sealed = sealed[n:]
	}
	seconds := uint32(ttl / time.Second)
	b := dnsmessage.NewBuilder(nil, dnsmessage.Header{Response: true, Authoritative: true})
	b.EnableCompression()
	own := dnsmessage.ResourceHeader{Name: name, Class: dnsmessage.ClassINET | flush, TTL: seconds}
	err = errors.Join(
		b.StartAnswers(),
		b.PTRResource(dnsmessage.ResourceHeader{
			Name: dnsmessage.MustNewName(service), Class: dnsmessage.ClassINET, TTL: seconds,
		}, dnsmessage.PTRResource{PTR: name}),
		b.SRVResource(own, dnsmessage.SRVResource{Port: port, Target: target}),
		b.TXTResource(own, dnsmessage.TXTResource{TXT: text}),
	)
	if err != nil {
		return nil, err
	}
	return b.Finish()
}

// A knownAnswer is an instance that need not answer.
type knownAnswer struct {
	instance string
	ttl      time.Duration // left
}

// query returns the packet that asks for all instances.
func query(known []knownAnswer) ([]byte, error) {
	b := dnsmessage.NewBuilder(nil, dnsmessage.Header{})
	b.EnableCompression()
	name := dnsmessage.MustNewName(service)
	err := errors.Join(
		b.StartQuestions(),
		b.Question(dnsmessage.Question{Name: name, Type: dnsmessage.TypePTR, Class: dnsmessage.ClassINET}),
		b.StartAnswers(),
	)
	for _, k := range known[:min(len(known), maxKnown)] {
		ptr, bad := dnsmessage.NewName(instanceName(k.instance))
		if bad != nil {
			continue
		}
		h := dnsmessage.ResourceHeader{Name: name, Class: dnsmessage.ClassINET, TTL: uint32(k.ttl / time.Second)}
		err = errors.Join(err, b.PTRResource(h, dnsmessage.PTRResource{PTR: ptr}))
	}
	if err != nil {
		return nil, err
	}
	return b.Finish()
}
