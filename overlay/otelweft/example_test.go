package otelweft_test

import (
	"fmt"
	"net/http"

	"github.com/weftnet/weft/overlay"
	"github.com/weftnet/weft/overlay/otelweft"
)

// Conns of a web server and of its client are spans of the global provider.
func Example() {
	node, err := overlay.Default()
	if err != nil {
		fmt.Println(err)
		return
	}
	defer node.Close()
	ln, err := node.Listen(80)
	if err != nil {
		fmt.Println(err)
		return
	}
	go func() { fmt.Println(http.Serve(otelweft.Listener(ln, nil), http.NotFoundHandler())) }()

	client := &http.Client{Transport: &http.Transport{DialContext: otelweft.DialContext(node, nil)}}
	resp, err := client.Get("http://files/")
	if err != nil {
		fmt.Println(err)
		return
	}
	_ = resp.Body.Close()
}
