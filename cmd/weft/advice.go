package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/weftnet/weft/overlay"
)

// advices say what to do about errors that do not say it themselves. The first
// that fits counts.
var advices = []struct {
	err    error
	advice string
}{
	{overlay.ErrNoRelay, "check the relay's address, the network and its secret"},
	{overlay.ErrUnknownNode, "check the name, and that the node is running and uses the same relay"},
	{overlay.ErrNotAllowed, "ask whoever runs the node"},
	{overlay.ErrRefused, "check the port, and that something listens there"},
}

// advise adds to an error what can be done about it.
func advise(ctx context.Context, err error) error {
	if ctx.Err() != nil && errors.Is(err, ctx.Err()) {
		return errors.New("interrupted")
	}
	for _, a := range advices {
		if errors.Is(err, a.err) {
			return fmt.Errorf("%w; %s", err, a.advice)
		}
	}
	return err
}
