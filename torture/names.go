package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"strings"
	"sync/atomic"
	"time"

	"github.com/miekg/dns"
)

// names is a name server whose answers depend on the first word of the domain that is asked for:
//
//	live.…, live7.…  one exchanger, at the sink
//	dead.…           one exchanger, at a host that sends everybody away
//	stall.…          one exchanger, at a host that accepts and says nothing
//	servfail.…       SERVFAIL
//	slow.…           an answer after ten seconds
//	cut.…            truncated, and nobody answers over TCP
//	lame.…           REFUSED
//	loop.…           aliases in a circle
//
// Everything else does not exist.
type names struct {
	server *dns.Server
	asked  atomic.Int64
	// hosts are the addresses behind the exchangers: of loopback, where no server of ours listens,
	// and others for each process, so that two of this program do not meet.
	hosts map[string]string
}

func openNames(addr string) (*names, error) {
	conn, err := net.ListenPacket("udp", addr)
	if err != nil {
		return nil, err
	}
	n := &names{hosts: map[string]string{}}
	for i, kind := range []string{"live", "dead", "stall"} {
		n.hosts[kind] = fmt.Sprintf("127.77.%d.%d", 1+os.Getpid()%250, 2+i)
	}
	n.server = &dns.Server{PacketConn: conn, Handler: n}
	go n.server.ActivateAndServe()
	return n, nil
}

func (n *names) close() { n.server.ShutdownContext(context.Background()) }

// ServeDNS answers one question.
func (n *names) ServeDNS(w dns.ResponseWriter, q *dns.Msg) {
	n.asked.Add(1)
	r := new(dns.Msg)
	r.SetReply(q)
	question := q.Question[0]
	name := strings.ToLower(question.Name)
	word := strings.TrimRight(name[:strings.IndexByte(name, '.')], "0123456789")
	header := dns.RR_Header{Name: question.Name, Rrtype: question.Qtype, Class: dns.ClassINET, Ttl: 60}
	host := n.hosts[strings.TrimPrefix(word, "mx-")]
	switch {
	case host != "" && strings.HasPrefix(word, "mx-"):
		if question.Qtype == dns.TypeA {
			r.Answer = []dns.RR{&dns.A{Hdr: header, A: net.ParseIP(host)}}
		}
	case host != "":
		if question.Qtype == dns.TypeMX {
			r.Answer = []dns.RR{&dns.MX{Hdr: header, Preference: 10, Mx: "mx-" + question.Name}}
		}
	case word == "servfail":
		r.Rcode = dns.RcodeServerFailure
	case word == "slow":
		time.Sleep(10 * time.Second)
	case word == "cut":
		r.Truncated = true
	case word == "lame":
		r.Rcode = dns.RcodeRefused
	case word == "loop":
		header.Rrtype = dns.TypeCNAME
		other := "loop1" + name[strings.IndexByte(name, '.'):]
		if strings.HasPrefix(name, "loop1.") {
			other = "loop" + name[strings.IndexByte(name, '.'):]
		}
		r.Answer = []dns.RR{&dns.CNAME{Hdr: header, Target: other}}
	default:
		r.Rcode = dns.RcodeNameError
	}
	w.WriteMsg(r)
}
