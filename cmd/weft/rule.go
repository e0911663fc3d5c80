package main

import (
	"strings"

	"github.com/weftnet/weft/internal/identity"
	"github.com/weftnet/weft/overlay"
)

// parseRule reads whom a rule allows from the values of a flag; nil if there
// are none.
func parseRule(texts []string) (*overlay.Rule, error) {
	if len(texts) == 0 {
		return nil, nil
	}
	rule := new(overlay.Rule)
	for _, text := range texts {
		if role, ok := strings.CutPrefix(text, "role:"); ok {
			rule.Roles = append(rule.Roles, role)
			continue
		}
		if id, err := identity.ParseNodeID(text); err == nil {
			rule.IDs = append(rule.IDs, id)
			continue
		}
		if key, err := identity.ParsePublicKey(text); err == nil {
			rule.Keys = append(rule.Keys, key)
			continue
		}
		name, err := identity.ParseName(text)
		if err != nil {
			return nil, err
		}
		rule.Names = append(rule.Names, name)
	}
	return rule, nil
}
