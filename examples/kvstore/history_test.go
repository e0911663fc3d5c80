package main

import (
	"fmt"
	"math"
	"slices"
	"sync"
	"testing"
	"time"

	"connectrpc.com/connect"
	"github.com/anishathalye/porcupine"
)

// A register is what a key should be like: a user sees it as if the operations on it happened
// one after the other, each at some moment between its call and its return.
var register = porcupine.Model{
	Init: func() any { return "" },
	Step: func(state, input, output any) (bool, any) {
		op := input.(operation)
		if op.kind == "get" {
			return output.(string) == state.(string), state
		}
		return true, op.value
	},
	DescribeOperation: func(input, output any) string { return fmt.Sprintf("%v → %v", input, output) },
}

// An operation is one on a key: put, get, or delete, which puts "".
type operation struct{ kind, key, value string }

// A history is what clients have seen. Its clock orders calls and returns.
type history struct {
	mu    sync.Mutex
	clock int64
	ops   []porcupine.Operation
	tried map[string]int // kinds, and those that failed
}

func (h *history) call(client int, op operation) int {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.clock++
	h.ops = append(h.ops, porcupine.Operation{ClientId: client, Input: op, Call: h.clock, Return: math.MaxInt64})
	return len(h.ops) - 1
}

// returned records how an operation ended. One that failed may have happened, or may yet.
func (h *history) returned(call int, value string, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.clock++
	op := &h.ops[call]
	kind := op.Input.(operation).kind
	if connect.CodeOf(err) == connect.CodeNotFound && err != nil {
		value, err = "", nil
	}
	if h.tried == nil {
		h.tried = make(map[string]int)
	}
	if err != nil {
		h.tried[kind+" failed"]++
		return
	}
	h.tried[kind]++
	op.Output, op.Return = value, h.clock
}

// check fails the test if no order of the operations explains the history.
func (h *history) check(t *testing.T) {
	t.Helper()
	h.mu.Lock()
	defer h.mu.Unlock()
	seen := make(map[string]bool)
	for _, op := range h.ops {
		if value, ok := op.Output.(string); ok {
			seen[value] = true
		}
	}
	perKey := make(map[string][]porcupine.Operation)
	for _, op := range h.ops {
		in := op.Input.(operation)
		if op.Return == math.MaxInt64 && (in.kind == "get" || in.kind == "put" && !seen[in.value]) {
			continue // explains nothing
		}
		perKey[in.key] = append(perKey[in.key], op)
	}
	for key, ops := range perKey {
		if result := porcupine.CheckOperationsTimeout(register, ops, time.Minute); result != porcupine.Ok {
			slices.SortFunc(ops, func(a, b porcupine.Operation) int { return int(a.Call - b.Call) })
			for _, op := range ops {
				t.Logf("%d to %d: client %d: %v", op.Call, op.Return, op.ClientId, register.DescribeOperation(op.Input, op.Output))
			}
			t.Fatalf("the history of %q is %v", key, result)
		}
	}
	t.Logf("%d operations: %v", len(h.ops), h.tried)
}
