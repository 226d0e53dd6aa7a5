package main

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"tram/internal/config"
	"tram/internal/server"
)

func (a *app) serve() *cobra.Command {
	c := &cobra.Command{
		Use: "serve", Short: "Run the server",
		Long: `Runs the server of a configuration file until it gets SIGTERM or SIGINT; then running
sessions may finish. SIGHUP reads the certificates again.`,
		Args: exactly(),
		RunE: func(c *cobra.Command, _ []string) error { return a.runServe(c.Context()) },
	}
	c.Flags().StringVar(&a.file, "config", defaultConfig, "configuration `file`")
	c.MarkFlagFilename("config", "toml")
	return c
}

func (a *app) runServe(ctx context.Context) error {
	c, err := config.Load(a.file)
	if err != nil {
		return err
	}
	given, err := server.Activated()
	if err != nil {
		return err
	}
	logger := a.logger(c.Log)
	prepare(logger)
	s, err := server.Open(ctx, server.Options{
		Config: *c, Version: fullVersion(), Logger: logger, Given: given, Decoder: decoder(),
	})
	if err != nil {
		return err
	}
	return serveUntil(ctx, s, logger, func() {
		logger.Info("ready", "version", fullVersion(), "hostname", c.Hostname, "data", c.Data,
			"listeners", len(s.Listeners()))
	})
}

func (a *app) logger(c config.Log) *slog.Logger {
	return server.NewLogger(a.errs, c, terminal(a.errs))
}

// prepare sets what holds for the whole process.
func prepare(logger *slog.Logger) {
	syscall.Umask(0o077)
	if n := server.BoundMemory(); n > 0 {
		logger.Info("heap bounded", "bytes", n)
	}
}

// serveUntil runs s until ctx is done, tells systemd, reloads on SIGHUP, and closes s.
func serveUntil(ctx context.Context, s *server.Server, logger *slog.Logger, ready func()) error {
	hup := make(chan os.Signal, 1)
	signal.Notify(hup, syscall.SIGHUP)
	defer signal.Stop(hup)
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	notify := func(state string) {
		if err := server.Notify(state); err != nil {
			logger.Warn("systemd was not told", "state", state, "err", err)
		}
	}
	started, done := s.Ready(), ctx.Done()
	for {
		select {
		case <-started:
			started = nil
			notify("READY=1")
			ready()
		case <-done:
			done = nil
			notify("STOPPING=1")
			logger.Info("shutting down")
		case <-hup:
			if err := s.Reload(ctx); err != nil {
				logger.Error("certificates not reloaded", "err", err)
			} else {
				logger.Info("certificates reloaded")
			}
		case err := <-ended:
			return errors.Join(err, s.Close())
		}
	}
}
