package handshake

// How often a key may be used, after RFC 9001 section 6.6 and appendix B. The
// lengths there are in blocks of 16 bytes; a packet of 64 KiB has 2^12.
const (
	// confidentialityLimit is how many packets one AES-GCM key may protect.
	// For packets of l blocks it is 2^35/l, which for 64 KiB is 2^23, the
	// number in section 6.6. ChaCha20-Poly1305 could go on for ever, and need not.
	confidentialityLimit = 1 << 23
	// updateAfter is when a side starts a key update: an eighth of the limit,
	// so that seven more intervals pass before a peer that acknowledges
	// nothing costs the session.
	updateAfter = 1 << 20
	// integrityLimit is how many packets of a session may fail authentication.
	// Section 6.6 allows 2^52 with AES-GCM, and 2^36 with ChaCha20-Poly1305 for
	// the 2^10 blocks of a TLS record; a fourth of that for 2^12 blocks. One
	// number, the smallest, serves all.
	integrityLimit = 1 << 34
)

// AppKeys protect 1-RTT packets in both directions and update their keys (RFC
// 9001 section 6). Each direction counts its updates; the lowest bit of the
// count is the key phase that packets carry. A side updates its sending key
// when NeedsUpdate says so, or at once when the peer has. AppKeys belong to one
// goroutine. Seal and Open do not allocate if dst has room, but for the few
// packets that change a key.
type AppKeys struct {
	suite suite

	// Sending.
	write       *Keys
	writeSecret []byte
	writeCount  uint64 // updates of the sending key
	sealed      uint64 // packets protected with the current key
	firstSealed uint64 // number of the first of them
	acked       bool   // the peer has acknowledged one of them

	// Receiving. The next key is made ahead of its time, so that the time to
	// reject a packet does not depend on its phase bit (section 9.5).
	old, current, next *Keys // old is nil before the first update
	nextSecret         []byte
	readCount          uint64 // updates of the receiving key
	lowest             uint64 // lowest packet number that the current key opened

	failures uint64
	err      error // why the session must end

	// The limits above; tests have smaller ones.
	updateAfter, confidentialityLimit, integrityLimit uint64
}

// NewAppKeys makes keys from the TLS secrets of both directions, of a cipher
// suite of TLS 1.3.
func NewAppKeys(cipherSuite uint16, readSecret, writeSecret []byte) (*AppKeys, error) {
	s, err := suiteByID(cipherSuite)
	if err != nil {
		return nil, err
	}
	return newAppKeys(s, readSecret, writeSecret), nil
}

// newAppKeys makes keys from the secrets of both directions.
func newAppKeys(s suite, readSecret, writeSecret []byte) *AppKeys {
	a := &AppKeys{
		suite:                s,
		write:                s.keys(writeSecret),
		writeSecret:          writeSecret,
		current:              s.keys(readSecret),
		nextSecret:           s.update(readSecret),
		updateAfter:          updateAfter,
		confidentialityLimit: confidentialityLimit,
		integrityLimit:       integrityLimit,
	}
	a.next = s.keys(a.nextSecret)
	return a
}

// Phase returns the key phase bit for the header of the next packet to Seal.
func (a *AppKeys) Phase() bool { return a.writeCount&1 == 1 }

// Seal is [Keys.Seal] with the current sending key. The header must carry
// Phase. Once Err is not nil, nothing but the packet that closes the session
// may be sealed.
func (a *AppKeys) Seal(dst, header, plaintext []byte, pn uint64) []byte {
	if a.sealed == 0 {
		a.firstSealed = pn
	}
	a.sealed++
	if a.sealed >= a.confidentialityLimit && a.err == nil {
		a.err = ErrConfidentialityLimit
	}
	return a.write.Seal(dst, header, plaintext, pn)
}

// Open is [Keys.Open] with the key that the packet number and the phase bit
// call for. A packet of the peer's next phase updates both directions. Errors:
// [ErrAuthentication], for which the packet is dropped; and those of Err, for
// which the session must end.
func (a *AppKeys) Open(dst, header, ciphertext []byte, pn uint64, phase bool) ([]byte, error) {
	if a.err != nil {
		return nil, a.err
	}
	key := a.current
	if samePhase := phase == (a.readCount&1 == 1); !samePhase {
		key = a.next
		// Packet numbers never decrease from one phase to the next (section
		// 6.4), so that an older number is of the phase before.
		if a.old != nil && pn < a.lowest {
			key = a.old
		}
	}
	out, err := key.Open(dst, header, ciphertext, pn)
	if err != nil {
		a.failures++
		if a.failures >= a.integrityLimit {
			a.err = ErrIntegrityLimit
			err = a.err
		}
		return nil, err
	}
	switch key {
	case a.current:
		a.lowest = min(a.lowest, pn)
	case a.next:
		if err := a.peerUpdated(pn); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// peerUpdated moves to the phase of packet pn, the first that the next key
// opened.
func (a *AppKeys) peerUpdated(pn uint64) error {
	if a.readCount == a.writeCount {
		// The peer began. It may only after an acknowledgement that was sealed
		// with our current key (section 6.1), so there must have been a packet.
		if a.sealed == 0 {
			a.err = ErrKeyUpdate
			return a.err
		}
		// What acknowledges pn must already have the new key (section 6.2).
		a.updateWrite()
	}
	a.old, a.current = a.current, a.next
	a.nextSecret = a.suite.update(a.nextSecret)
	a.next = a.suite.keys(a.nextSecret)
	a.readCount++
	a.lowest = pn
	return nil
}

// updateWrite moves the sending key to the next phase.
func (a *AppKeys) updateWrite() {
	used := a.write.next
	a.writeSecret = a.suite.update(a.writeSecret)
	a.write = a.suite.keys(a.writeSecret)
	a.write.next = used
	a.writeCount++
	a.sealed, a.acked = 0, false
}

// OnAcked tells that the peer has acknowledged packet pn.
func (a *AppKeys) OnAcked(pn uint64) {
	if a.sealed > 0 && pn >= a.firstSealed {
		a.acked = true
	}
}

// NeedsUpdate reports whether the sending key has protected so many packets
// that it is time to call Update, and the peer is known to have caught up with
// the last one.
func (a *AppKeys) NeedsUpdate() bool { return a.sealed >= a.updateAfter && a.canUpdate() }

// Update moves the sending key to the next phase; the peer follows when it sees
// the next packet. Update does nothing while section 6.1 forbids it: until a
// packet of the current phase was acknowledged.
func (a *AppKeys) Update() {
	if a.canUpdate() {
		a.updateWrite()
	}
}

// canUpdate reports whether a key update may begin: both directions are in one
// phase, and the peer has acknowledged a packet of it. The first such
// acknowledgement also confirms the handshake, which section 6 asks for.
func (a *AppKeys) canUpdate() bool { return a.acked && a.readCount == a.writeCount }

// ForgetOld throws away the receiving key of the phase before. Callers should do
// so three probe timeouts after [AppKeys.Updates] has changed (section 6.5);
// later packets of the old phase then fail authentication. Without it the old
// key lives until the next update.
func (a *AppKeys) ForgetOld() {
	// A packet of the old phase is now tried with the next key, and fails.
	a.old = nil
}

// Updates counts the updates of the receiving key.
func (a *AppKeys) Updates() uint64 { return a.readCount }

// Failures counts the packets that failed authentication.
func (a *AppKeys) Failures() uint64 { return a.failures }

// Err says why the session must end, or nil: [ErrConfidentialityLimit],
// [ErrIntegrityLimit] or [ErrKeyUpdate]. It does not change any more once set.
func (a *AppKeys) Err() error { return a.err }
