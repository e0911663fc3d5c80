package sctp

import "sync"

// smallest is the memory that the first small messages share.
const smallest = 512

// buffers hold one message each.
var buffers = sync.Pool{New: func() any { return new([maxMessage]byte) }}

// An inbox holds the unread bytes of a conn. Messages of at least half the
// largest stay in the buffer into which they were read; smaller ones are put
// together, so that they do not pin large buffers.
type inbox struct {
	chunks [][]byte // each not empty
	at     int      // where the unread begin in the first
}

func (q *inbox) empty() bool { return len(q.chunks) == 0 }

// put takes the message buf[:n], and returns the buffer for the next.
func (q *inbox) put(buf *[maxMessage]byte, n int) *[maxMessage]byte {
	if n >= maxMessage/2 {
		q.chunks = append(q.chunks, buf[:n])
		return buffers.Get().(*[maxMessage]byte)
	}
	size := smallest
	if last := len(q.chunks) - 1; last >= 0 {
		if c := q.chunks[last]; cap(c)-len(c) >= n && cap(c) < maxMessage {
			q.chunks[last] = append(c, buf[:n]...)
			return buf
		}
		size = min(2*cap(q.chunks[last]), maxMessage/2)
	}
	q.chunks = append(q.chunks, append(make([]byte, 0, max(size, n)), buf[:n]...))
	return buf
}

// read takes bytes off the inbox, as many as there are and fit b.
func (q *inbox) read(b []byte) (n int) {
	for n < len(b) && !q.empty() {
		k := copy(b[n:], q.chunks[0][q.at:])
		n += k
		if q.at += k; q.at == len(q.chunks[0]) {
			q.drop()
		}
	}
	return n
}

// drop lets go of the first chunk.
func (q *inbox) drop() {
	if c := q.chunks[0]; cap(c) == maxMessage {
		buffers.Put((*[maxMessage]byte)(c[:maxMessage]))
	}
	q.chunks[0] = nil
	q.chunks, q.at = q.chunks[1:], 0
	if q.empty() {
		q.chunks = nil
	}
}

// clear throws everything away.
func (q *inbox) clear() {
	for !q.empty() {
		q.drop()
	}
}
