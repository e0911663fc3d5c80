//go:build linux

package netns

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/weftnet/weft/overlay"
)

// envRole makes the test binary a victim, or a node of the network that the
// variables of overlay.ConfigFromEnv say, until its standard input ends.
const (
	envRole  = "WEFT_TEST_ROLE"
	roleNode = "node"
)

// portTransfer is where a node takes streams.
const portTransfer = 101

// watchInterval is how often a node looks which way its stream takes.
const watchInterval = 10 * time.Millisecond

var reports = struct {
	sync.Mutex
	*json.Encoder
}{Encoder: json.NewEncoder(os.Stdout)}

func say(r report) {
	r.At = time.Now().UnixMilli()
	reports.Lock()
	defer reports.Unlock()
	_ = reports.Encode(r) // nobody is left to be told
}

func failed(doing string, err error) {
	say(report{Event: "failed", Error: fmt.Sprintf("%s: %v", doing, err)})
}

// play is one of the roles until that ends; it returns the exit code.
func play(role string) int {
	if role == roleVictim {
		fmt.Fprintln(os.Stderr, playVictim())
		return 1
	}
	log := logrus.New() // to standard error
	log.SetFormatter(&logrus.TextFormatter{FullTimestamp: true, TimestampFormat: "15:04:05.000"})
	log.SetLevel(logrus.DebugLevel)
	if err := playNode(log); err != nil {
		failed("node", err)
		return 1
	}
	return 0
}

func playNode(log logrus.FieldLogger) error {
	cfg, err := overlay.ConfigFromEnv()
	if err != nil {
		return err
	}
	cfg.Logger = log
	n, err := overlay.New(cfg)
	if err != nil {
		return err
	}
	defer n.Close()
	ln, err := n.Listen(portTransfer)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), testTimeout)
	defer cancel()
	if err := n.WaitReady(ctx); err != nil {
		return err
	}
	var latest atomic.Pointer[transfer]
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			t := newTransfer(c, 0)
			t.echo = true
			latest.Store(t)
			go t.run()
		}
	}()
	say(report{Event: "ready", ID: n.ID().String()})
	return obey(ctx, n, &latest)
}

// obey carries out commands: "begin ID RATE" opens a stream to a node and sends
// so many bytes a second, as does that node; 0 is as fast as they can. "end"
// ends the stream, "progress" reports how far it is, "status" on the node.
func obey(ctx context.Context, n *overlay.Node, latest *atomic.Pointer[transfer]) error {
	for scanner := bufio.NewScanner(os.Stdin); scanner.Scan(); {
		switch words := strings.Fields(scanner.Text()); words[0] {
		case "begin":
			rate, err := strconv.ParseUint(words[2], 10, 32)
			if err != nil {
				return err
			}
			c, err := dial(ctx, n, words[1])
			if err != nil {
				return err
			}
			t := newTransfer(c, uint32(rate))
			latest.Store(t)
			go t.run()
		case "end":
			close(latest.Load().stop)
		case "progress":
			say(latest.Load().report("progress"))
		case "status":
			st := n.Status()
			say(report{Event: "status", Status: &status{st.Peers, st.UDP}})
		}
	}
	return nil
}

// dial opens a stream to a node, of which its relay may have told this node's
// relay only just now.
func dial(ctx context.Context, n *overlay.Node, id string) (net.Conn, error) {
	for {
		c, err := n.Dial(ctx, net.JoinHostPort(id, strconv.Itoa(portTransfer)))
		if !errors.Is(err, overlay.ErrUnknownNode) || ctx.Err() != nil {
			return c, err
		}
		time.Sleep(watchInterval)
	}
}
