package grid

import (
	"context"
	"crypto/subtle"
	"errors"
	"fmt"

	"github.com/weftnet/weft/overlay"
)

// A HandlerID is the number by which handlers are called. Both ends have to mean the same by it:
// a program keeps its numbers in one list of constants and never gives one a second meaning.
type HandlerID uint16

// A Request is a call, or what begins a stream.
type Request struct {
	Handler HandlerID
	Token   []byte // what the caller shows for this call, at most 1 KiB
	// Payload belongs to the grid: a handler must not use it after it has returned.
	Payload []byte
	// From is who has called, as the overlay has proven it. Callers leave it nil.
	From *overlay.Peer
}

// A Handler answers calls. Its context ends with the caller's deadline, when the caller gives up, and
// with the session.
type Handler func(ctx context.Context, req *Request) ([]byte, error)

// A StreamHandler serves a stream, which ends when it returns.
type StreamHandler func(ctx context.Context, req *Request, s *Stream) error

// A Rule says by an error why a call is not allowed.
type Rule func(req *Request) error

// Token is a rule that asks for a token.
func Token(token string) Rule {
	return func(req *Request) error {
		if subtle.ConstantTimeCompare(req.Token, []byte(token)) == 1 {
			return nil
		}
		return errors.New("wrong token")
	}
}

type handler struct {
	name   string
	rule   Rule
	call   Handler
	stream StreamHandler
}

// Handlers are what a grid serves. The zero value is ready; New copies it.
type Handlers struct{ byID map[HandlerID]*handler }

// Handle adds a handler of calls. The name is for logs. No rule: every member of the network.
func (h *Handlers) Handle(id HandlerID, name string, rule Rule, f Handler) error {
	return h.add(id, &handler{name: name, rule: rule, call: f})
}

// HandleStream adds a handler of streams.
func (h *Handlers) HandleStream(id HandlerID, name string, rule Rule, f StreamHandler) error {
	return h.add(id, &handler{name: name, rule: rule, stream: f})
}

func (h *Handlers) add(id HandlerID, what *handler) error {
	if there, ok := h.byID[id]; ok {
		return fmt.Errorf("%w: %d is %s, and cannot be %s", ErrDuplicate, id, there.name, what.name)
	}
	if h.byID == nil {
		h.byID = make(map[HandlerID]*handler)
	}
	h.byID[id] = what
	return nil
}
