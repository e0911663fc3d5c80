//go:build unix

package integration

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/weftnet/weft/overlay"
)

func TestAClientGetsAnHTTP2AnswerFromAServerItKnowsByName(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	l.relay()
	server := l.server(overlay.EnvName + "=kv-1")
	client := l.play("client", []string{"http://kv-1/hello"})

	var a answer
	if err := json.Unmarshal([]byte(client.expect(l.ctx, "answer")), &a); err != nil {
		t.Fatal(err)
	}
	client.exit(l.ctx)
	if a.Proto != "HTTP/2.0" {
		t.Errorf("the protocol is %s", a.Proto)
	}
	if a.From != server.id || a.RemoteAddr != server.addr(portHTTP) {
		t.Errorf("%s at %s answered, not the server, %s", a.From, a.RemoteAddr, server.id)
	}
	want := fmt.Sprintf("GET /hello for %s at %s:", a.Client, a.Client)
	if !strings.HasPrefix(a.Body, want) {
		t.Errorf("the answer is %q, want %q and a port", a.Body, want)
	}
}
