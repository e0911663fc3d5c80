// Package packaging checks what is in the folder packaging with the libraries
// of those who read it.
package packaging

import (
	"slices"
	"testing"

	"github.com/compose-spec/compose-go/v2/cli"
)

// The two ends of the demonstration share no network, and the relay is in both.
func TestComposeFileIsValid(t *testing.T) {
	options, err := cli.NewProjectOptions([]string{"../../packaging/docker/compose.yaml"}, cli.WithEnv([]string{"WEFT_SECRET=x"}))
	if err != nil {
		t.Fatal(err)
	}
	project, err := options.LoadProject(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	networks := make(map[string][]string)
	for name, s := range project.Services {
		for n := range s.Networks {
			networks[name] = append(networks[name], n)
		}
		slices.Sort(networks[name])
	}
	if len(networks["relay"]) != 2 || len(networks["files"]) != 1 || len(networks["visitor"]) != 1 || networks["files"][0] == networks["visitor"][0] {
		t.Errorf("the services are in the networks %v", networks)
	}
	for name, n := range project.Networks {
		if !n.Internal {
			t.Errorf("from the network %s there is a way out, which could be the way to the other", name)
		}
	}
}
