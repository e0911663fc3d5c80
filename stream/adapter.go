package stream

import (
	"context"
	"errors"
	"io"
	"math"

	"github.com/weftnet/weft/internal/identity"
	"github.com/weftnet/weft/internal/session"
)

// FromSession returns s as layers see it. What differs is only the types: all
// errors of the session become errors of this package in [fromSession].
func FromSession(s *session.Session) Session { return sessionAdapter{s} }

type sessionAdapter struct{ *session.Session }

func (a sessionAdapter) PeerID() identity.NodeID { return a.Peer().ID }

func (a sessionAdapter) OpenStream(ctx context.Context, kind Kind) (Stream, error) {
	return adaptStream(a.Session.OpenStream(ctx, session.Kind(kind)))
}

func (a sessionAdapter) AcceptStream(ctx context.Context) (Stream, error) {
	return adaptStream(a.Session.AcceptStream(ctx))
}

func (a sessionAdapter) MaxDatagram() int { return a.MaxLayerDatagram() }

func (a sessionAdapter) SendDatagram(ctx context.Context, b []byte) error {
	return fromSession(a.SendLayerDatagram(ctx, b))
}

func (a sessionAdapter) ReceiveDatagram(ctx context.Context, b []byte) (int, error) {
	n, err := a.ReceiveLayerDatagram(ctx, b)
	return n, fromSession(err)
}

func (a sessionAdapter) Err() error { return fromSession(a.Session.Err()) }

// adaptStream keeps a nil stream a nil interface.
func adaptStream(st *session.Stream, err error) (Stream, error) {
	if err != nil {
		return nil, fromSession(err)
	}
	return streamAdapter{st}, nil
}

// streamAdapter has one word, so that it needs no allocation as a Stream. The
// deadlines are the embedded stream's.
type streamAdapter struct{ *session.Stream }

func (a streamAdapter) Kind() Kind             { return Kind(a.Stream.Kind()) }
func (a streamAdapter) Accept() error          { return fromSession(a.Stream.Accept()) }
func (a streamAdapter) Refuse(code Code) error { return fromSession(a.Stream.Refuse(uint64(code))) }
func (a streamAdapter) Reset(code Code) error  { return fromSession(a.Stream.Reset(uint64(code))) }
func (a streamAdapter) CloseRead() error       { return fromSession(a.Stream.CloseRead()) }
func (a streamAdapter) CloseWrite() error      { return fromSession(a.Stream.CloseWrite()) }
func (a streamAdapter) Close() error           { return fromSession(a.Stream.Close()) }

func (a streamAdapter) Accepted(ctx context.Context) error {
	return fromSession(a.Stream.Accepted(ctx))
}

func (a streamAdapter) Read(b []byte) (int, error) {
	n, err := a.Stream.Read(b)
	return n, fromSession(err)
}

func (a streamAdapter) Write(b []byte) (int, error) {
	n, err := a.Stream.Write(b)
	return n, fromSession(err)
}

// fromSession turns an error of package session into one of this package. It
// is the only place that knows both.
func fromSession(err error) error {
	if err == nil || err == io.EOF {
		return err
	}
	if e, ok := errors.AsType[*session.ResetError](err); ok {
		return &ResetError{Code: Code(min(e.Code, math.MaxUint32)), Remote: e.Remote}
	}
	if e, ok := errors.AsType[*session.ClosedError](err); ok {
		return &ClosedError{Remote: e.Remote, Code: e.Code, Reason: e.Reason, Cause: e.Cause}
	}
	return err
}
