package httpd

import (
	"bytes"
	"embed"
	"html/template"
	"net/http"
	"strconv"
)

//go:embed page
var files embed.FS

// pages adds the start page: /en and /vi, and / that chooses by the visitor's wish.
func (s *Server) pages(mux *http.ServeMux) {
	english, vietnam := s.render("page/en.html"), s.render("page/vi.html")
	style, _ := files.ReadFile("page/style.css") // embedded: it is there
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Vary", "Accept-Language")
		if vietnamese(r.Header.Get("Accept-Language")) {
			static(w, "text/html; charset=utf-8", vietnam)
			return
		}
		static(w, "text/html; charset=utf-8", english)
	})
	for path, body := range map[string][]byte{"/en": english, "/vi": vietnam} {
		mux.HandleFunc("GET "+path, func(w http.ResponseWriter, _ *http.Request) {
			static(w, "text/html; charset=utf-8", body)
		})
	}
	mux.HandleFunc("GET /style.css", func(w http.ResponseWriter, _ *http.Request) {
		static(w, "text/css; charset=utf-8", style)
	})
	mux.HandleFunc("GET /robots.txt", func(w http.ResponseWriter, _ *http.Request) {
		text(w, http.StatusOK, "User-agent: *\nDisallow: /")
	})
}

func static(w http.ResponseWriter, kind string, body []byte) {
	h := w.Header()
	h.Set("Content-Type", kind)
	h.Set("Content-Length", strconv.Itoa(len(body)))
	h.Set("Cache-Control", "max-age="+strconv.Itoa(int(pageAge.Seconds())))
	w.Write(body)
}

// render fills a page once, at start.
func (s *Server) render(name string) []byte {
	var b bytes.Buffer
	page, err := template.ParseFS(files, name)
	if err == nil {
		err = page.Execute(&b, s.o)
	}
	if err != nil { // the pages are part of the binary; a test renders them
		s.o.Logger.Error("start page does not render", "page", name, "err", err)
	}
	return b.Bytes()
}
