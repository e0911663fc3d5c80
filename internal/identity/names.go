package identity

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"unicode/utf8"
)

// MaxNames is how many names a node can have.
const MaxNames = 16

const (
	maxName  = 253 // bytes in a name, as in DNS (RFC 1035 section 2.3.4)
	maxLabel = 63  // bytes between two dots
)

var errNameChars = errors.New("only a to z, digits and dashes are allowed, and dots between them")

// ParseName checks a node's name and returns it in lower case. A name is a DNS
// name: labels of 1 to 63 letters, digits and inner dashes, with dots between
// them. What reads as a node ID, a public key or an IP address is not a name,
// since an address must mean one thing only.
func ParseName(s string) (string, error) {
	if len(s) == 0 || len(s) > maxName {
		return "", fmt.Errorf("node name %.64q: want 1 to %d characters", s, maxName)
	}
	// ToLower turns a few letters of other scripts into ASCII ones.
	if strings.ContainsFunc(s, func(r rune) bool { return r >= utf8.RuneSelf }) {
		return "", fmt.Errorf("node name %.64q: %w", s, errNameChars)
	}
	name := strings.ToLower(s)
	for label := range strings.SplitSeq(name, ".") {
		if err := checkLabel(label); err != nil {
			return "", fmt.Errorf("node name %.64q: %w", s, err)
		}
	}
	if _, err := ParseNodeID(name); err == nil {
		return "", fmt.Errorf("node name %q reads as a node ID; choose another", s)
	}
	if _, err := ParsePublicKey(name); err == nil {
		return "", fmt.Errorf("node name %q reads as a public key; choose another", s)
	}
	if _, err := netip.ParseAddr(name); err == nil {
		return "", fmt.Errorf("node name %q reads as an IP address; choose another", s)
	}
	return name, nil
}

// checkLabel checks one label of a lower-case name.
func checkLabel(label string) error {
	if len(label) == 0 || len(label) > maxLabel {
		return fmt.Errorf("want 1 to %d characters between dots", maxLabel)
	}
	if label[0] == '-' || label[len(label)-1] == '-' {
		return errors.New("a part must not begin or end with a dash")
	}
	if !onlyNameChars(label) {
		return errNameChars
	}
	return nil
}

// onlyNameChars reports whether s is made of a to z, 0 to 9 and dashes.
func onlyNameChars(s string) bool {
	for i := range len(s) {
		c := s[i]
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' {
			return false
		}
	}
	return true
}

// parseNames checks a list of names.
func parseNames(names []string) ([]string, error) {
	if len(names) > MaxNames {
		return nil, fmt.Errorf("%d node names: want at most %d", len(names), MaxNames)
	}
	var out []string
	for _, s := range names {
		name, err := ParseName(s)
		if err != nil {
			return nil, err
		}
		out = append(out, name)
	}
	return out, nil
}
