package relay

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/weftnet/weft/internal/link"
)

// entrant is the n-th conn of an address.
func entrant(addr, n int) textAddr { return textAddr(fmt.Sprintf("192.0.2.%d:%d", addr, n)) }

// Those who have said too little for too long give way to others, the oldest first,
// and to those of their own address if that has its share.
func TestOldPrefacesGiveWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const all, each = 6, 3
		a := newAdmission(-1, -1, all, each)
		ended := make(map[string]bool)
		enter := func(addr, n int) *slot {
			s := a.enter(entrant(addr, n))
			if s != nil {
				s.waits(func() { ended[fmt.Sprint(addr, n)] = true })
			}
			return s
		}
		first := enter(1, 1)
		time.Sleep(time.Millisecond)
		for n := range 2 {
			enter(1, 2+n)
		}
		if enter(1, 9) != nil {
			t.Error("more conns of one address than may be")
		}
		for n := range 3 {
			enter(2, 1+n)
		}
		if enter(3, 1) != nil {
			t.Error("more conns than may be")
		}
		time.Sleep(prefacePatience - time.Millisecond)
		if enter(2, 9) != nil {
			t.Error("an address with its share gets a place of another")
		}
		if enter(3, 1) == nil || !ended["1 1"] || len(ended) != 1 {
			t.Errorf("the oldest has not given way; ended are %v", ended)
		}
		if status := first.link(); status != link.StatusBusy {
			t.Errorf("one that gave way becomes a link: %v", status)
		}
		if first.move(newAdmission(-1, -1, -1, -1), entrant(1, 1)) {
			t.Error("one that gave way moves")
		}
		time.Sleep(time.Millisecond)
		if enter(2, 9) == nil || !ended["2 1"] {
			t.Errorf("the oldest of the address has not given way; ended are %v", ended)
		}
		first.leave()
		if _, prefaces := a.count(); prefaces != all {
			t.Errorf("%d prefaces", prefaces)
		}
	})
}

// Links and conns that have moved do not give way, and neither does one that has left.
func TestLinksDoNotGiveWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAdmission(-1, -1, 2, -1)
		linked, left, moved := a.enter(entrant(1, 1)), a.enter(entrant(2, 1)), newAdmission(-1, -1, 1, -1)
		if status := linked.link(); status != link.StatusOK {
			t.Fatal(status)
		}
		left.leave()
		claim := a.enter(entrant(3, 1))
		if !claim.move(moved, entrant(3, 1)) {
			t.Fatal("it does not move")
		}
		time.Sleep(time.Minute)
		if moved.enter(entrant(4, 1)) != nil {
			t.Error("one that has moved has given way")
		}
		if a.waiting.Len() != 0 || moved.waiting.Len() != 0 {
			t.Error("something waits that is no preface")
		}
		for _, s := range []*slot{linked, claim} {
			s.leave()
		}
		if len(a.addresses)+len(moved.addresses) != 0 {
			t.Error("addresses are still known")
		}
	})
}
