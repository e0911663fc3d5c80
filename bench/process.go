package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
)

// childEnv tells this program that it is the server's process, and takes orders
// from its standard input.
const childEnv = "WEFT_BENCH_CHILD"

// A reply is an answer on its way between two processes.
type reply struct {
	answer
	Err string `json:",omitempty"`
}

// A child is this program once more. It ends when its standard input does.
type child struct {
	cmd *exec.Cmd
	in  io.WriteCloser
	out io.ReadCloser
	enc *json.Encoder
	dec *json.Decoder
}

func startChild(ctx context.Context, stderr io.Writer) (*child, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, self)
	cmd.Env = append(os.Environ(), childEnv+"=1")
	cmd.Stderr = stderr
	c := &child{cmd: cmd}
	if c.in, err = cmd.StdinPipe(); err != nil {
		return nil, err
	}
	if c.out, err = cmd.StdoutPipe(); err != nil {
		return nil, err
	}
	c.enc, c.dec = json.NewEncoder(c.in), json.NewDecoder(c.out)
	return c, cmd.Start()
}

// call ends the process if ctx ends first.
func (c *child) call(ctx context.Context, o order) (answer, error) {
	stop := context.AfterFunc(ctx, func() { _ = c.cmd.Process.Kill() })
	defer stop()
	if err := c.enc.Encode(o); err != nil {
		return answer{}, fmt.Errorf("the server's process has ended: %w", err)
	}
	var r reply
	if err := c.dec.Decode(&r); err != nil {
		return answer{}, fmt.Errorf("the server's process has ended: %w", errors.Join(err, context.Cause(ctx)))
	}
	if r.Err != "" {
		return r.answer, fmt.Errorf("server's process: %s", r.Err)
	}
	return r.answer, nil
}

func (c *child) Close() error {
	return errors.Join(c.in.Close(), c.cmd.Wait())
}

// obey carries out the orders that come in, until they end.
func obey(in io.Reader, out io.Writer) error {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	orders := make(chan order)
	go func() {
		defer cancel() // what is under way, too
		defer close(orders)
		for dec := json.NewDecoder(in); ; {
			var o order
			if dec.Decode(&o) != nil {
				return
			}
			orders <- o
		}
	}()
	h := newLocalSide(nil)
	enc := json.NewEncoder(out)
	for o := range orders {
		a, err := h.call(ctx, o)
		r := reply{answer: a}
		if err != nil {
			r.Err = err.Error()
		}
		if err := enc.Encode(r); err != nil {
			break // nobody reads any more
		}
	}
	return h.Close()
}
