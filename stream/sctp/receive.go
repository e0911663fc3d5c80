package sctp

import (
	"errors"
	"io"
	"os"

	"github.com/pion/datachannel"

	"github.com/weftnet/weft/stream"
)

// This file is what happens in the goroutine in which pion reads: arriving
// before a packet reaches pion, arrived after.

// lastNumber is a stream number that no channel may have (RFC 8832 section 5.1).
const lastNumber = 65535

// arriving looks at a packet that came in. It reports whether pion should see
// it, and returns what to answer if it should not.
//
// It makes the channels that the peer opens with it. pion would do so itself,
// but has room for 16, and takes what exceeds that for lost.
func (m *mux) arriving(packet []byte) (answer []byte, ok bool) {
	b, err := chunksOf(packet)
	for err == nil && len(b) > 0 {
		var c chunk
		if c, b, err = nextChunk(b); err != nil {
			break
		}
		switch {
		case c.isData():
			if !m.expect(c.stream(), c.tsn()) {
				return nil, false
			}
		case c.kind() == chunkReconfig:
			answer, err = m.receivedReset(c)
			if answer != nil {
				return answer, false
			}
		}
	}
	return nil, err == nil
}

// expect makes sure that there is a channel for data that pion is about to get.
// It reports whether pion may get them.
func (m *mux) expect(id uint16, tsn uint32) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	ch := m.channels[id]
	switch {
	case ch != nil && ch.eof && after(tsn, ch.lastTSN):
		return false // of the next user of the number, for whom it is not free yet
	case ch != nil && ch.eof:
		return true // came twice: pion has to acknowledge it
	case ch != nil:
	case m.err != nil:
		return false
	case id&1 == m.numbers.side, id == lastNumber:
		return true // of a channel of ours that is over, or nobody's
	case m.anyReset && !after(tsn, m.lastTSN):
		return true // of a channel that is over: came twice
	default:
		var err error
		if ch, err = m.newChannelLocked(id); err != nil {
			return false
		}
	}
	if n := len(m.touched); n == 0 || m.touched[n-1] != ch {
		m.touched = append(m.touched, ch)
	}
	return true
}

// arrived takes what the last packet brought.
func (m *mux) arrived() {
	m.room.update()
	for i, ch := range m.touched {
		m.drain(ch)
		m.touched[i] = nil
	}
	m.touched = m.touched[:0]
	if len(m.resetting) > 0 {
		left := m.resetting[:0]
		for _, ch := range m.resetting {
			if m.drain(ch); !m.isOver(ch) {
				left = append(left, ch)
			}
		}
		clear(m.resetting[len(left):])
		m.resetting = left
	}
	if len(m.answered) > 0 {
		m.resetsAnswered(m.answered)
		m.answered = m.answered[:0]
	}
	m.mu.Lock()
	if m.progress != nil {
		close(m.progress)
		m.progress = nil
	}
	m.mu.Unlock()
}

func (m *mux) isOver(ch *channel) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return ch.eof
}

// drain takes all messages of a channel that are there.
func (m *mux) drain(ch *channel) {
	if m.isOver(ch) {
		return
	}
	for {
		err := m.next(ch)
		switch {
		case err == nil:
			continue
		case errors.Is(err, os.ErrDeadlineExceeded): // there is no more
		case err == io.EOF:
			m.closed(ch)
		case m.why() == nil:
			m.log.log.WithError(err).Debugf("sctp: channel %d", ch.id)
			m.end(errProtocol)
		}
		return
	}
}

// next takes the next message of a channel.
func (m *mux) next(ch *channel) error {
	if ch.dc == nil {
		return m.incoming(ch)
	}
	n, isString, err := ch.read(m.buf[:])
	switch {
	case err != nil || n == 0:
		return err
	case !isString:
		m.buf, err = ch.conn.receive(m.buf, n)
		return err
	}
	msg, err := parseMessage(m.buf[:n])
	if err != nil {
		return err
	}
	return ch.conn.handle(msg)
}

// incoming takes the first message of a channel that the peer opened.
func (m *mux) incoming(ch *channel) error {
	cfg := &datachannel.Config{LoggerFactory: m.log}
	dc, err := datachannel.Server(ch.st, cfg)
	if err != nil {
		return err
	}
	port, err := parseOpen(cfg)
	if err != nil {
		return err
	}
	ch.dc = dc
	c := newConn(m, ch,
		stream.Addr{Node: m.sess.LocalID(), Port: port},
		stream.Addr{Node: m.sess.PeerID(), Port: stream.DialerPort(uint64(ch.id >> 1))})
	m.mu.Lock()
	err = m.err
	ch.conn = c
	m.mu.Unlock()
	if err != nil {
		c.lose(err)
		return nil
	}
	r := &request{c}
	select {
	case m.requests <- r:
		return nil
	default:
		return r.Refuse(stream.CodeBacklogFull)
	}
}

// closed is the peer's reset of its direction. The conn has ended before, unless
// the peer breaks the rules.
func (m *mux) closed(ch *channel) {
	if c := ch.conn; c != nil {
		c.aborted(stream.CodeNone)
	} else {
		ch.reset()
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	ch.released, ch.eof = true, true
	if !m.anyReset || after(ch.lastTSN, m.lastTSN) {
		m.lastTSN, m.anyReset = ch.lastTSN, true
	}
	m.askLocked(ch) // package datachannel has, at this end of file
	m.freeLocked(ch)
}
