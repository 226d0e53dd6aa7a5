package admin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"strconv"
	"time"
)

// The API is HTTP with JSON on a unix socket: whoever may open the socket may do everything, so it
// belongs to the server's user alone. Errors are a Fault. Check answers with one JSON object a line.

const apiBody = 1 << 20 // bytes of a request; the largest is an alias with many targets

// Handler serves the API.
func (h *House) Handler() http.Handler {
	mux := http.NewServeMux()
	for pattern, serve := range map[string]func(*http.Request) (any, error){
		"GET /v1/status": func(r *http.Request) (any, error) { return h.Status(r.Context()) },
		"GET /v1/limits": func(*http.Request) (any, error) { return h.Limits(), nil },
		"GET /v1/trace":  h.apiTrace,

		"GET /v1/domains": func(r *http.Request) (any, error) { return h.Domains(r.Context()) },
		"POST /v1/domains": body(func(r *http.Request, d Domain) (any, error) {
			return h.AddDomain(r.Context(), d.Name)
		}),
		"GET /v1/domains/{name}": func(r *http.Request) (any, error) {
			return h.Domain(r.Context(), r.PathValue("name"))
		},
		"PATCH /v1/domains/{name}": body(func(r *http.Request, c DomainChange) (any, error) {
			return h.ChangeDomain(r.Context(), r.PathValue("name"), c)
		}),
		"DELETE /v1/domains/{name}": func(r *http.Request) (any, error) {
			return nil, h.RemoveDomain(r.Context(), r.PathValue("name"))
		},

		"GET /v1/domains/{name}/dns": func(r *http.Request) (any, error) {
			return h.Records(r.Context(), r.PathValue("name"))
		},
		"GET /v1/doctor": func(r *http.Request) (any, error) {
			return h.Examine(r.Context(), r.FormValue("domain"))
		},

		"GET /v1/accounts": func(r *http.Request) (any, error) {
			return h.Accounts(r.Context(), r.FormValue("domain"))
		},
		"POST /v1/accounts": body(func(r *http.Request, n NewAccount) (any, error) {
			return h.AddAccount(r.Context(), n)
		}),
		"GET /v1/accounts/{address}": func(r *http.Request) (any, error) {
			return h.Account(r.Context(), r.PathValue("address"))
		},
		"PATCH /v1/accounts/{address}": body(func(r *http.Request, c AccountChange) (any, error) {
			return h.ChangeAccount(r.Context(), r.PathValue("address"), c)
		}),
		"GET /v1/accounts/{address}/folders": func(r *http.Request) (any, error) {
			return h.Folders(r.Context(), r.PathValue("address"))
		},
		"DELETE /v1/accounts/{address}": func(r *http.Request) (any, error) {
			return nil, h.RemoveAccount(r.Context(), r.PathValue("address"))
		},

		"GET /v1/folders/{owner}": func(r *http.Request) (any, error) {
			return h.SharedFolders(r.Context(), r.PathValue("owner"))
		},
		"POST /v1/folders/{owner}": body(func(r *http.Request, f Folder) (any, error) {
			return h.AddFolder(r.Context(), r.PathValue("owner"), f)
		}),
		"PATCH /v1/folders/{owner}": body(func(r *http.Request, c FolderChange) (any, error) {
			return h.ChangeFolder(r.Context(), r.PathValue("owner"), c)
		}),
		"DELETE /v1/folders/{owner}": func(r *http.Request) (any, error) {
			return nil, h.RemoveFolder(r.Context(), r.PathValue("owner"), r.FormValue("name"))
		},

		"GET /v1/aliases": func(r *http.Request) (any, error) {
			return h.Aliases(r.Context(), r.FormValue("domain"))
		},
		"POST /v1/aliases": body(func(r *http.Request, a Alias) (any, error) {
			return nil, h.AddAlias(r.Context(), a)
		}),
		"DELETE /v1/aliases/{address}": func(r *http.Request) (any, error) {
			return nil, h.RemoveAlias(r.Context(), r.PathValue("address"))
		},

		"GET /v1/dmarc/{domain}":   h.apiDMARC,
		"GET /v1/tlsrpt/{domain}":  h.apiTLS,
		"GET /v1/reports/{report}": h.apiReport,
		"GET /v1/bimi/{domain}": func(r *http.Request) (any, error) {
			return h.BIMI(r.Context(), r.PathValue("domain"))
		},

		"GET /v1/dkim": func(r *http.Request) (any, error) {
			return h.SigningKeys(r.Context(), r.FormValue("domain"))
		},
		"POST /v1/dkim/{domain}": body(func(r *http.Request, a SigningAction) (any, error) {
			return h.SigningDo(r.Context(), r.PathValue("domain"), a)
		}),

		"GET /v1/queue": h.apiQueue,
		"GET /v1/queue/{id}": func(r *http.Request) (any, error) {
			return h.QueueShow(r.Context(), r.PathValue("id"))
		},
		"POST /v1/queue/{id}": body(func(r *http.Request, a QueueAction) (any, error) {
			return nil, h.QueueDo(r.Context(), r.PathValue("id"), a)
		}),
	} {
		mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
			v, err := serve(r)
			h.answer(w, r, v, err)
		})
	}
	for pattern, serve := range h.spamRoutes() {
		mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
			v, err := serve(r)
			h.answer(w, r, v, err)
		})
	}
	mux.HandleFunc("POST /v1/check", h.apiCheck)
	mux.HandleFunc("GET /v1/profile/{kind}", h.apiProfile)
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		h.answer(w, r, nil, &Fault{KindNotFound, "no such operation: " + r.Method + " " + r.URL.Path})
	})
	return http.MaxBytesHandler(mux, apiBody)
}

// body reads the request's JSON for fn; unknown fields are refused.
func body[In any](fn func(*http.Request, In) (any, error)) func(*http.Request) (any, error) {
	return func(r *http.Request) (any, error) {
		var in In
		d := json.NewDecoder(r.Body)
		d.DisallowUnknownFields()
		if err := d.Decode(&in); err != nil {
			return nil, invalid("request is not understood: %v", err)
		}
		return fn(r, in)
	}
}

func (h *House) apiTrace(r *http.Request) (any, error) {
	limit, err := number(r, "limit")
	if err != nil {
		return nil, err
	}
	return h.Trace(r.Context(), r.FormValue("q"), limit)
}

func (h *House) apiQueue(r *http.Request) (any, error) {
	limit, err := number(r, "limit")
	if err != nil {
		return nil, err
	}
	return h.QueueList(r.Context(), QueueFilter{
		Sender: r.FormValue("sender"), Recipient: r.FormValue("recipient"),
		Domain: r.FormValue("domain"), State: r.FormValue("state"), After: r.FormValue("after"),
		Limit: limit,
	})
}

func number(r *http.Request, name string) (int, error) {
	s := r.FormValue(name)
	if s == "" {
		return 0, nil
	}
	n, err := strconv.Atoi(s)
	if err != nil || n < 0 {
		return 0, invalid("%s is not a number: %q", name, s)
	}
	return n, nil
}

var codes = map[string]int{
	KindNotFound: http.StatusNotFound, KindExists: http.StatusConflict,
	KindConflict: http.StatusConflict, KindInvalid: http.StatusUnprocessableEntity,
	KindFull: http.StatusInsufficientStorage,
}

func (h *House) answer(w http.ResponseWriter, r *http.Request, v any, err error) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	switch {
	case err != nil:
		f := h.asFault(r, err)
		code := codes[f.Kind]
		if code == 0 {
			code = http.StatusInternalServerError
		}
		w.WriteHeader(code)
		v = f
	case v == nil:
		v = struct{}{}
	}
	json.NewEncoder(w).Encode(v)
}

// asFault logs what is not the administrator's doing.
func (h *House) asFault(r *http.Request, err error) *Fault {
	var f *Fault
	if !errors.As(err, &f) {
		f = &Fault{kindOf(err), err.Error()}
	}
	if f.Kind == KindInternal && r.Context().Err() == nil {
		h.o.Logger.Error("administration failed", "method", r.Method, "path", r.URL.Path, "err", err)
	}
	return f
}

// CheckLine is one line of a check's answer; the last is Done, or an Error.
type CheckLine struct {
	Progress *Progress `json:"progress,omitempty"`
	Finding  *Finding  `json:"finding,omitempty"`
	Done     bool      `json:"done,omitempty"`
	Fault    *Fault    `json:"fault,omitempty"`
}

const progressEvery = 200 * time.Millisecond

func (h *House) apiCheck(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "application/jsonl")
	w.Header().Set("Cache-Control", "no-store")
	out, flush := json.NewEncoder(w), http.NewResponseController(w)
	var last time.Time
	err := h.Check(r.Context(), r.FormValue("deep") == "1", func(p Progress) {
		if now := h.o.Clock.Now(); now.Sub(last) >= progressEvery {
			last = now
			out.Encode(CheckLine{Progress: &p})
			flush.Flush()
		}
	}, func(f Finding) {
		out.Encode(CheckLine{Finding: &f})
		flush.Flush()
	})
	if err != nil {
		out.Encode(CheckLine{Fault: h.asFault(r, err)})
		return
	}
	out.Encode(CheckLine{Done: true})
}

// Server is the API on its socket.
type Server struct {
	http *http.Server
	l    net.Listener
}

// Listen opens the socket at path for this user alone; a socket that a dead server left is
// replaced. The caller holds the data folder, so that no living server's socket is.
func (h *House) Listen(path string) (*Server, error) {
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("remove old administration socket: %w", err)
	}
	l, err := net.Listen("unix", path)
	if err != nil {
		return nil, fmt.Errorf("open administration socket: %w", err)
	}
	if err := os.Chmod(path, 0o600); err != nil {
		l.Close()
		return nil, fmt.Errorf("protect administration socket: %w", err)
	}
	srv := &http.Server{Handler: h.Handler(), ReadHeaderTimeout: 10 * time.Second}
	return &Server{http: srv, l: l}, nil
}

// Serve answers until Shutdown.
func (s *Server) Serve() error {
	if err := s.http.Serve(s.l); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// Shutdown ends what runs, at the latest when ctx is done, and removes the socket.
func (s *Server) Shutdown(ctx context.Context) error {
	if err := s.http.Shutdown(ctx); err != nil {
		return s.http.Close()
	}
	return nil
}
