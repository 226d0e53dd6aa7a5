package httpd

import (
	"encoding/xml"
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
)

// How mail programs that know only an address find the doors: Thunderbird's autoconfiguration (file
// format 1.1) and Outlook's Autodiscover (MS-OXDSCLI, the "outlook" response schema). Both tell the
// server's name and ports, which are no secrets, and only for domains of this house.

const (
	autoconfigPath = "/mail/config-v1.1.xml"
	wellKnownPath  = "/.well-known/autoconfig" + autoconfigPath
	discoverPath   = "/autodiscover/autodiscover.xml"
	// discoverBody bounds an Autodiscover request; real ones have 300 bytes.
	discoverBody = 8 << 10
)

// finders adds the answers to both kinds of program.
func (s *Server) finders(mux *http.ServeMux) {
	if s.o.IsLocal == nil {
		return
	}
	mux.HandleFunc("GET "+autoconfigPath, s.autoconfig)
	mux.HandleFunc("GET "+wellKnownPath, s.autoconfig)
	mux.HandleFunc("POST "+discoverPath, s.autodiscover)
	mux.HandleFunc("POST /Autodiscover/Autodiscover.xml", s.autodiscover)
	mux.HandleFunc("POST /AutoDiscover/AutoDiscover.xml", s.autodiscover)
}

// mailDomain is the domain of an address, "" when it is none of ours.
func (s *Server) mailDomain(address string) string {
	at := strings.LastIndexByte(address, '@')
	domain := strings.ToLower(address[at+1:])
	if domain == "" || len(domain) > 255 || !s.o.IsLocal(domain) {
		return ""
	}
	return domain
}

// askedDomain is the domain that a request for autoconfiguration is about: of the address in it, else of
// the host name that was asked.
func (s *Server) askedDomain(r *http.Request) string {
	if address := r.FormValue("emailaddress"); address != "" {
		return s.mailDomain(address)
	}
	host := r.Host
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	return s.mailDomain(strings.TrimPrefix(strings.ToLower(host), "autoconfig."))
}

// clientConfig is Thunderbird's file.
type clientConfig struct {
	XMLName  xml.Name `xml:"clientConfig"`
	Version  string   `xml:"version,attr"`
	Provider provider `xml:"emailProvider"`
}

type provider struct {
	ID       string       `xml:"id,attr"`
	Domain   string       `xml:"domain"`
	Name     string       `xml:"displayName"`
	Short    string       `xml:"displayShortName"`
	Incoming []mailServer `xml:"incomingServer"`
	Outgoing []mailServer `xml:"outgoingServer"`
}

type mailServer struct {
	Type     string `xml:"type,attr"`
	Hostname string `xml:"hostname"`
	Port     int    `xml:"port"`
	Socket   string `xml:"socketType"`
	User     string `xml:"username"`
	Auth     string `xml:"authentication"`
}

func (s *Server) autoconfig(w http.ResponseWriter, r *http.Request) {
	domain := s.askedDomain(r)
	if domain == "" {
		text(w, http.StatusNotFound, "no mail of this domain here")
		return
	}
	p := provider{ID: domain, Domain: domain, Name: domain, Short: domain}
	for _, d := range s.o.Doors {
		m := mailServer{
			Type: strings.ToLower(d.Name), Hostname: s.o.Hostname, Port: d.Port, Socket: "SSL",
			User: "%EMAILADDRESS%", Auth: "password-cleartext", // inside of TLS
		}
		if d.Security != "TLS" {
			m.Socket = "STARTTLS"
		}
		if m.Type == "smtp" {
			p.Outgoing = append(p.Outgoing, m)
		} else {
			p.Incoming = append(p.Incoming, m)
		}
	}
	s.writeXML(w, clientConfig{Version: "1.1", Provider: p})
}

// discoverRequest is what Outlook posts.
type discoverRequest struct {
	Address string `xml:"Request>EMailAddress"`
	Schema  string `xml:"Request>AcceptableResponseSchema"`
}

// The answer's namespaces, MS-OXDSCLI §2.2.4.
const (
	discoverSpace = "http://schemas.microsoft.com/exchange/autodiscover/responseschema/2006"
	outlookSpace  = "http://schemas.microsoft.com/exchange/autodiscover/outlook/responseschema/2006a"
)

type discoverAnswer struct {
	XMLName  xml.Name `xml:"Autodiscover"`
	Space    string   `xml:"xmlns,attr"`
	Response struct {
		Space   string         `xml:"xmlns,attr"`
		User    *discoverUser  `xml:"User,omitempty"`
		Account *discoverAcct  `xml:"Account,omitempty"`
		Error   *discoverError `xml:"Error,omitempty"`
	} `xml:"Response"`
}

type discoverUser struct {
	Name string `xml:"DisplayName"`
}

type discoverAcct struct {
	Type      string             `xml:"AccountType"`
	Action    string             `xml:"Action"`
	Protocols []discoverProtocol `xml:"Protocol"`
}

type discoverProtocol struct {
	Type       string `xml:"Type"`
	Server     string `xml:"Server"`
	Port       int    `xml:"Port"`
	Login      string `xml:"LoginName"`
	Domain     string `xml:"DomainRequired"`
	SPA        string `xml:"SPA"`
	SSL        string `xml:"SSL"`
	Encryption string `xml:"Encryption"` // "SSL" from the first byte, "TLS" by STARTTLS
	Auth       string `xml:"AuthRequired"`
}

type discoverError struct {
	Code    int    `xml:"ErrorCode"`
	Message string `xml:"Message"`
}

func (s *Server) autodiscover(w http.ResponseWriter, r *http.Request) {
	var q discoverRequest
	err := xml.NewDecoder(io.LimitReader(r.Body, discoverBody)).Decode(&q)
	if err != nil {
		code := http.StatusBadRequest
		if errors.As(err, new(*http.MaxBytesError)) {
			code = http.StatusRequestEntityTooLarge
		}
		text(w, code, "this is no Autodiscover request")
		return
	}
	a := discoverAnswer{Space: discoverSpace}
	a.Response.Space = outlookSpace
	address := strings.TrimSpace(q.Address)
	switch {
	case q.Schema != "" && q.Schema != outlookSpace:
		a.Response.Space, a.Response.Error = discoverSpace, &discoverError{601, "Provider is not available"}
	case !strings.Contains(address, "@") || s.mailDomain(address) == "":
		a.Response.Space, a.Response.Error = discoverSpace, &discoverError{500, "No mail of this address here"}
	default:
		a.Response.User = &discoverUser{address}
		a.Response.Account = &discoverAcct{Type: "email", Action: "settings"}
		for _, d := range s.o.Doors {
			if d.Security != "TLS" {
				continue // Outlook takes one door of each kind, the first
			}
			a.Response.Account.Protocols = append(a.Response.Account.Protocols, discoverProtocol{
				Type: d.Name, Server: s.o.Hostname, Port: d.Port, Login: address, Domain: "off",
				SPA: "off", SSL: "on", Encryption: "SSL", Auth: "on",
			})
		}
	}
	s.writeXML(w, a)
}

func (s *Server) writeXML(w http.ResponseWriter, v any) {
	b, err := xml.MarshalIndent(v, "", "  ")
	if err != nil { // names and numbers: it does not fail
		s.o.Logger.Error("answer not written", "err", err)
		text(w, http.StatusInternalServerError, "failed")
		return
	}
	w.Header().Set("Content-Type", "text/xml; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	_, _ = io.WriteString(w, xml.Header) // a visitor that has gone needs no answer
	_, _ = w.Write(append(b, '\n'))
}

// secureQuery is what a redirect to the secure front takes along: a program that asked
// autoconfig.DOMAIN is sent to another host, which has to hear of the domain.
func secureQuery(r *http.Request) string {
	if r.URL.Path != autoconfigPath && r.URL.Path != wellKnownPath {
		return ""
	}
	address := r.URL.Query().Get("emailaddress")
	if address == "" {
		host := r.Host
		if h, _, err := net.SplitHostPort(host); err == nil {
			host = h
		}
		address = "@" + strings.TrimPrefix(strings.ToLower(host), "autoconfig.")
	}
	return "?" + url.Values{"emailaddress": {address}}.Encode()
}
