package main

import (
	"testing"

	"github.com/weftnet/weft/overlay"
)

func TestRulesOfACommandLine(t *testing.T) {
	key, err := overlay.NewKey()
	if err != nil {
		t.Fatal(err)
	}
	rule, err := parseRule([]string{key.ID().String(), key.Public().String(), "KV-1", "role:ops"})
	if err != nil || len(rule.IDs) != 1 || rule.IDs[0] != key.ID() || len(rule.Keys) != 1 || rule.Keys[0] != key.Public() ||
		len(rule.Names) != 1 || rule.Names[0] != "kv-1" || len(rule.Roles) != 1 || rule.Roles[0] != "ops" {
		t.Errorf("%+v, %v", rule, err)
	}
	if rule, err := parseRule(nil); rule != nil || err != nil {
		t.Errorf("no rule is %+v, %v", rule, err)
	}
	if _, err := parseRule([]string{"a b"}); err == nil {
		t.Error("nonsense is a rule")
	}
}
