package certs

import (
	"context"
	"errors"
	"log/slog"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// ended reports whether an error only says that the work was broken off, as at every shutdown: that
// is nothing for an operator to look after.
func ended(err error) bool { return errors.Is(err, context.Canceled) }

// zapLogger lets certmagic, which logs by zap, log by slog. Its debug lines are not for operators.
func zapLogger(to *slog.Logger) *zap.Logger { return zap.New(slogCore{to: to}) }

// slogCore is a zapcore.Core that writes to slog.
type slogCore struct{ to *slog.Logger }

func slogLevel(l zapcore.Level) slog.Level {
	switch {
	case l >= zapcore.ErrorLevel:
		return slog.LevelError
	case l >= zapcore.WarnLevel:
		return slog.LevelWarn
	case l >= zapcore.InfoLevel:
		return slog.LevelInfo
	}
	return slog.LevelDebug
}

// Enabled implements zapcore.Core.
func (c slogCore) Enabled(l zapcore.Level) bool {
	return l >= zapcore.InfoLevel && c.to.Enabled(context.Background(), slogLevel(l))
}

// With implements zapcore.Core.
func (c slogCore) With(fields []zapcore.Field) zapcore.Core {
	return slogCore{to: c.to.With(slogAttrs(fields)...)}
}

// Check implements zapcore.Core.
func (c slogCore) Check(e zapcore.Entry, ce *zapcore.CheckedEntry) *zapcore.CheckedEntry {
	if c.Enabled(e.Level) {
		return ce.AddCore(e, c)
	}
	return ce
}

// Write implements zapcore.Core.
func (c slogCore) Write(e zapcore.Entry, fields []zapcore.Field) error {
	level := slogLevel(e.Level)
	for _, f := range fields {
		if err, ok := f.Interface.(error); ok && f.Type == zapcore.ErrorType && ended(err) {
			level = slog.LevelDebug
		}
	}
	attrs := append([]any{"part", e.LoggerName}, slogAttrs(fields)...)
	c.to.Log(context.Background(), level, "acme: "+e.Message, attrs...)
	return nil
}

// Sync implements zapcore.Core.
func (slogCore) Sync() error { return nil }

func slogAttrs(fields []zapcore.Field) []any {
	enc := zapcore.NewMapObjectEncoder()
	attrs := make([]any, 0, 2*len(fields))
	for _, f := range fields {
		f.AddTo(enc)
	}
	for _, f := range fields {
		if v, ok := enc.Fields[f.Key]; ok {
			attrs = append(attrs, f.Key, v)
			delete(enc.Fields, f.Key)
		}
	}
	return attrs
}
