package main

import (
	"strings"
	"testing"
)

// Each layer connects nodes that chose it; different choices are refused with
// a sentence on both sides that names them.
func TestLayers(t *testing.T) {
	for layer := range layers {
		t.Run(layer, func(t *testing.T) {
			startRelay(t)
			server, _ := startServer(t, "--layer", layer)
			server.line()
			stdout, stderr, code := weft(t, "get", "--layer", layer, "http://files/hello.txt")
			if code != exitOK || stdout != "hello\n" {
				t.Errorf("exit code %d, stdout %q, stderr %q", code, stdout, stderr)
			}
			stdout, _, code = weft(t, "ping", "-n", "1", "files") // needs no conn, so any layer will do
			if code != exitOK || !strings.Contains(stdout, ", layer "+layer+"\n") {
				t.Errorf("exit code %d, stdout %q does not name the layer", code, stdout)
			}
			for other := range layers {
				if other == layer {
					continue
				}
				_, stderr, code := weft(t, "get", "--layer", other, "http://files/hello.txt")
				if code != exitFailure || !strings.Contains(stderr, `this node "`+other+`", the peer "`+layer+`"`) {
					t.Errorf("exit code %d, %q does not name both layers", code, stderr)
				}
				server.log.await(t, `this node \"`+layer+`\", the peer \"`+other+`\"`)
			}
		})
	}
}

func TestAnUnknownLayerIsAUsageError(t *testing.T) {
	_, stderr, code := weft(t, "ping", "--layer", "string", "--open", "--relay", "127.0.0.1:1", "files")
	if code != exitUsage || !strings.Contains(stderr, "native") {
		t.Errorf("exit code %d, stderr %q; want the layers that there are", code, stderr)
	}
}
