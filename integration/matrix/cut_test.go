package matrix

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"

	"github.com/weftnet/weft/listener"
	"github.com/weftnet/weft/stream"
)

// cutCells are answers that end in the middle. None looks complete, however its
// length is told.
var cutCells = []cell{
	{name: "by-reset", run: func(l *lab) {
		l.cutAnswers(func(conns []net.Conn) {
			for _, c := range conns {
				l.must(c.(stream.Conn).Reset(stream.CodeApplication))
			}
		})
	}},
	{name: "by-the-servers-session", run: func(l *lab) { l.cutAnswers(func([]net.Conn) { l.endB() }) }},
	{name: "by-the-clients-session", run: func(l *lab) { l.cutAnswers(func([]net.Conn) { l.endA() }) }},
	{name: "by-the-end-of-the-layer", run: func(l *lab) { l.cutAnswers(func([]net.Conn) { l.b.mux.Close() }) }},
}

// answers are the ways in which an answer's length is told. The last knows its end
// by that of the conn, as HTTP/1.0 does: nothing but the conn's error says that
// something is missing.
var answers = []string{
	"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nhalf",
	"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n",
	"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nhalf",
}

// cutAnswers begins answers on a conn each, has cut end them, and checks what net/http
// tells of them.
func (l *lab) cutAnswers(cut func(conns []net.Conn)) {
	ln := l.listen(l.b, 80, listener.ListenConfig{})
	client := &http.Client{Transport: &http.Transport{DialContext: l.a.DialContext, DisableKeepAlives: true}}
	defer client.CloseIdleConnections()
	var conns []net.Conn
	errs := make(chan error, len(answers))
	for _, answer := range answers {
		got := make(chan struct{})
		go func() { errs <- l.readCut(client, got) }()
		c := l.accept(ln)
		conns = append(conns, c)
		_, err := http.ReadRequest(bufio.NewReader(c))
		l.must(err)
		_, err = io.WriteString(c, answer)
		l.must(err)
		await(l, "the first half", got)
	}
	cut(conns)
	for range answers {
		if err := await(l, "the end of an answer", errs); err != nil {
			l.Error(err)
		}
	}
}

// readCut reads an answer and says what is wrong with its end. It closes got when
// the first half has come.
func (l *lab) readCut(client *http.Client, got chan<- struct{}) error {
	done := false
	defer func() {
		if !done {
			close(got)
		}
	}()
	req, err := http.NewRequestWithContext(l.ctx, http.MethodGet, l.b.url("/"), nil)
	if err != nil {
		return err
	}
	resp, err := client.Do(req)
	if err != nil {
		return fmt.Errorf("no answer: %w", err)
	}
	defer resp.Body.Close()
	half := make([]byte, len("half"))
	if _, err := io.ReadFull(resp.Body, half); err != nil || string(half) != "half" {
		return fmt.Errorf("the first half is %q, %w", half, err)
	}
	close(got)
	done = true
	rest, err := io.ReadAll(resp.Body)
	if err == nil || len(rest) > 0 || strings.HasSuffix(err.Error(), ": EOF") {
		return fmt.Errorf("an answer that was cut ended with %q, %w", rest, err)
	}
	return nil
}
