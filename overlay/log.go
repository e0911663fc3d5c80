package overlay

import (
	"context"
	"io"
	"log/slog"
	"slices"

	"github.com/sirupsen/logrus"
)

// NewSlogLogger returns a logger for Config.Logger that hands everything to l.
func NewSlogLogger(l *slog.Logger) logrus.FieldLogger {
	out := logrus.New()
	out.SetOutput(io.Discard)
	out.SetFormatter(nothing{})
	out.SetLevel(logrus.PanicLevel)
	for _, level := range logrus.AllLevels {
		if l.Enabled(context.Background(), slogLevel(level)) {
			out.SetLevel(max(out.GetLevel(), level))
		}
	}
	out.AddHook(slogHook{l})
	return out
}

// A slogHook is told of each entry that the level lets pass.
type slogHook struct{ l *slog.Logger }

// Levels implements logrus.Hook.
func (slogHook) Levels() []logrus.Level { return logrus.AllLevels }

// Fire implements logrus.Hook.
func (h slogHook) Fire(e *logrus.Entry) error {
	ctx := e.Context
	if ctx == nil {
		ctx = context.Background()
	}
	keys := make([]string, 0, len(e.Data))
	for k := range e.Data {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	attrs := make([]slog.Attr, len(keys))
	for i, k := range keys {
		attrs[i] = slog.Any(k, e.Data[k])
	}
	h.l.LogAttrs(ctx, slogLevel(e.Level), e.Message, attrs...)
	return nil
}

func slogLevel(l logrus.Level) slog.Level {
	switch {
	case l <= logrus.ErrorLevel:
		return slog.LevelError
	case l == logrus.WarnLevel:
		return slog.LevelWarn
	case l == logrus.InfoLevel:
		return slog.LevelInfo
	}
	return slog.LevelDebug
}

// nothing formats entries for nobody: the hook has them.
type nothing struct{}

// Format implements logrus.Formatter.
func (nothing) Format(*logrus.Entry) ([]byte, error) { return nil, nil }
