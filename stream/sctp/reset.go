package sctp

// A channel's number is free again when both directions have been reset (RFC
// 6525): SCTP counts messages for each number, and both ends must begin anew
// together. pion does not tell when a reset of ours has been answered, and
// performs a request that comes twice, because the answer got lost, twice; that
// would abort the channel that has the number by then. So the carrier looks at
// the RE-CONFIG chunks that pass:
//
//   - A request of the peer that was performed is answered with the same packet
//     as before, and does not reach pion again.
//   - Data that come twice must not make a channel anew that is over. They are
//     told by their TSN: a reset is performed when everything up to its last
//     TSN has come.
//   - The number of a channel stays taken until the peer's reset has arrived
//     and ours is answered. Data for it that come in between belong to its
//     next user on the peer's side; they are dropped, and SCTP sends them again.
//
// All numbers are used once before the first is used again.

const (
	// maxResets is how many resets may wait for an answer, so that a request
	// that names them all fits one packet.
	maxResets = 256
	// maxAnswers is how many answers are kept for requests that come again.
	maxAnswers = 1024
)

// resets is what the carrier knows of RE-CONFIG chunks. mux.mu guards it.
type resets struct {
	asked   map[uint32][]uint16 // our requests without an answer: what they reset
	answers map[uint32][]byte   // our packets that answer requests of the peer
	order   []uint32            // keys of answers, the oldest first
	open    int                 // channels whose reset was asked for and not answered
	waiting []*channel          // to be reset when there is room
}

func newResets() resets {
	return resets{asked: map[uint32][]uint16{}, answers: map[uint32][]byte{}}
}

// remember keeps the packet with which we answered a request.
func (r *resets) remember(number uint32, packet []byte) {
	if _, known := r.answers[number]; known {
		return
	}
	if len(r.order) == maxAnswers {
		delete(r.answers, r.order[0])
		r.order = r.order[1:]
	}
	r.answers[number] = append([]byte(nil), packet...)
	r.order = append(r.order, number)
}

// sentReset looks at a RE-CONFIG chunk on its way out, in packet.
func (m *mux) sentReset(c chunk, packet []byte) {
	params, err := resetParams(c)
	if err != nil {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, p := range params {
		switch {
		case !p.response:
			m.resets.asked[p.number] = p.streams
		case p.done:
			m.resets.remember(p.number, packet)
		}
	}
}

// receivedReset looks at a RE-CONFIG chunk that came in. If it was answered
// before, it returns the answer, and the packet is dropped.
func (m *mux) receivedReset(c chunk) (answer []byte, err error) {
	params, err := resetParams(c)
	if err != nil {
		return nil, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, p := range params {
		if p.response {
			if ids := m.resets.asked[p.number]; p.done && ids != nil {
				delete(m.resets.asked, p.number)
				m.answered = append(m.answered, ids...)
			}
			continue
		}
		if answer := m.resets.answers[p.number]; answer != nil {
			return answer, nil
		}
		for _, id := range p.streams {
			if ch := m.channels[id]; ch != nil && !ch.resetting {
				ch.resetting, ch.lastTSN = true, p.lastTSN
				m.resetting = append(m.resetting, ch)
			}
		}
	}
	return nil, nil
}

// release resets this side's direction of a channel, now or when fewer resets
// are under way. The conn says nothing any more.
func (m *mux) release(ch *channel) {
	m.mu.Lock()
	if ch.released {
		m.mu.Unlock()
		return
	}
	ch.released = true
	if m.resets.open >= maxResets {
		m.resets.waiting = append(m.resets.waiting, ch)
		m.mu.Unlock()
		return
	}
	m.askLocked(ch)
	m.mu.Unlock()
	ch.reset()
}

// askLocked counts a reset that is asked for. m.mu is held.
func (m *mux) askLocked(ch *channel) {
	if !ch.asked {
		ch.asked = true
		m.resets.open++
	}
}

// resetsAnswered takes note of our resets that the peer has performed, after
// the association has.
func (m *mux) resetsAnswered(ids []uint16) {
	m.mu.Lock()
	for _, id := range ids {
		if ch := m.channels[id]; ch != nil && ch.asked && !ch.answered {
			ch.answered = true
			m.resets.open--
			m.freeLocked(ch)
		}
	}
	var next []*channel
	for len(m.resets.waiting) > 0 && m.resets.open < maxResets {
		ch := m.resets.waiting[0]
		m.resets.waiting[0] = nil
		m.resets.waiting = m.resets.waiting[1:]
		if !ch.asked {
			m.askLocked(ch)
			next = append(next, ch)
		}
	}
	m.mu.Unlock()
	for _, ch := range next {
		ch.reset()
	}
}

// freeLocked frees a channel's number once both directions have been reset.
// m.mu is held.
func (m *mux) freeLocked(ch *channel) {
	if !ch.answered || !ch.eof {
		return
	}
	delete(m.channels, ch.id)
	m.numbers.put(ch.id)
	if len(m.channels) == 0 {
		m.releaseSession()
	}
}

// numbers are the channel numbers that this side may use: the even ones for
// the session's initiator, the odd ones for the other side.
type numbers struct {
	side uint16 // 0 or 1
	used int    // numbers that were used at least once
	free []uint16
}

// take returns a number that is free.
func (n *numbers) take() (uint16, bool) {
	if n.used < MaxStreams {
		id := uint16(n.used)<<1 | n.side
		n.used++
		return id, true
	}
	if len(n.free) == 0 {
		return 0, false
	}
	id := n.free[0]
	n.free = n.free[1:]
	return id, true
}

// put gives a number back, if it is one of this side's.
func (n *numbers) put(id uint16) {
	if id&1 == n.side {
		n.free = append(n.free, id)
	}
}
