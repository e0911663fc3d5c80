package control

// Observe asks from which address the relay sees the node.
type Observe struct{}

func (*Observe) kind() Kind   { return KindObserve }
func (*Observe) check() error { return nil }

// Observed answers Observe.
type Observed struct {
	Addr string `cbor:"1,keyasint,omitempty"` // "192.0.2.7:4000"
}

func (*Observed) kind() Kind     { return KindObserved }
func (m *Observed) check() error { return checkText("observed address", m.Addr, MaxAddr) }
