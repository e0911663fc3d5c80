package hostile

import (
	"bytes"
	"os"
	"os/exec"
	"testing"
	"time"

	"github.com/weftnet/weft/internal/identity"
	"github.com/weftnet/weft/overlay"
	"github.com/weftnet/weft/relay"
)

// panicIn says in which function of the program's a test's child panics.
const panicIn = "WEFT_TEST_PANIC_IN"

// What a program gives to its node and what panics there ends the program, and is
// told with its stack: a panic that is swallowed leaves locks held and data half
// changed. No peer can cause one.
func TestAPanicOfTheProgramIsNotSwallowed(t *testing.T) {
	const words = "a mistake of the program's"
	fail := func() { panic(words) }
	if in := os.Getenv(panicIn); in != "" {
		inWorld(t, func(w *world) {
			r := w.relay("relay", &relay.Server{})
			cfg := overlay.Config{}
			switch in {
			case "OnEvent":
				cfg.OnEvent = func(overlay.Event) { fail() }
			case "Rule.Func":
				cfg.Allow = &overlay.Rule{Func: func(identity.Peer) bool { fail(); return true }}
			}
			victim := w.node("victim", cfg, r)
			_, _ = w.node("friend", overlay.Config{}, r).Dial(w.Context(), victim.ID().String()+":7")
			time.Sleep(patience)
		})
		return
	}
	for _, in := range []string{"OnEvent", "Rule.Func"} {
		t.Run(in, func(t *testing.T) {
			cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestAPanicOfTheProgramIsNotSwallowed$")
			cmd.Env = append(os.Environ(), panicIn+"="+in)
			out, err := cmd.CombinedOutput()
			if err == nil || !bytes.Contains(out, []byte(words)) || !bytes.Contains(out, []byte("panic_test.go")) {
				t.Errorf("%v:\n%s", err, out)
			}
		})
	}
}
