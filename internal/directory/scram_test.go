package directory

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"math/big"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/xdg-go/scram"

	"tram/internal/kv"
)

// TestSCRAMVector is the dialogue of RFC 7677 §3.
func TestSCRAMVector(t *testing.T) {
	t.Parallel()
	h := open(t, func(o *Options) { o.Limits.PasswordMin = 1 })
	h.domain("example.test")
	user, err := h.AddAccount(context.Background(), AccountOptions{
		Address: addr("user@example.test"), Password: "pencil", AllowCommonPassword: true,
	})
	if err != nil {
		t.Fatal(err)
	}
	salt, err := base64.StdEncoding.DecodeString("W22ZaJ0SNY7soEsUEjb6gQ==")
	if err != nil {
		t.Fatal(err)
	}
	h.setSalt(scramSHA256, user.ID, "pencil", salt, 4096)
	h.nonce = func() string { return "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0" }
	told, x, err := talk(t, h, "SCRAM-SHA-256", secured, nothing,
		"n,,n=user,r=rOprNGfwEbeRWgbNEkqO",
		"c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,"+
			"p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=", "")
	if err != nil || x.Account().ID != user.ID {
		t.Fatalf("%v, account %d", err, x.Account().ID)
	}
	want := []string{"",
		"r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096",
		"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="}
	for i := range want {
		if told[i] != want[i] {
			t.Errorf("challenge %d is %q, want %q", i, told[i], want[i])
		}
	}
}

// TestSCRAMSHA1Vector is the dialogue of RFC 5802 §5.
func TestSCRAMSHA1Vector(t *testing.T) {
	t.Parallel()
	h := open(t, func(o *Options) { o.Limits.PasswordMin = 1 })
	h.domain("example.test")
	user, err := h.AddAccount(context.Background(), AccountOptions{
		Address: addr("user@example.test"), Password: "pencil", AllowCommonPassword: true,
	})
	if err != nil {
		t.Fatal(err)
	}
	salt, err := base64.StdEncoding.DecodeString("QSXCR+Q6sek8bf92")
	if err != nil {
		t.Fatal(err)
	}
	h.setSalt(scramSHA1, user.ID, "pencil", salt, 4096)
	h.nonce = func() string { return "3rfcNHYJY1ZVvWVs7j" }
	told, x, err := talk(t, h, "SCRAM-SHA-1", secured, nothing,
		"n,,n=user,r=fyko+d2lbbFgONRv9qkxdawL",
		"c=biws,r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,p=v0X8v3Bz2T0CJGbJQyF0X+HI4Ts=", "")
	if err != nil || x.Account().ID != user.ID {
		t.Fatalf("%v, account %d", err, x.Account().ID)
	}
	want := []string{"",
		"r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,s=QSXCR+Q6sek8bf92,i=4096",
		"v=rmF9pqV8S7suAoZWja4dJRkFsKQ="}
	for i := range want {
		if told[i] != want[i] {
			t.Errorf("challenge %d is %q, want %q", i, told[i], want[i])
		}
	}
}

// TestSCRAMSHA1OfOldAccounts proves that an account from before SHA-1's keys is refused as nobody's
// name is, until its password is seen in the clear (A3), and that the other hash goes on working.
func TestSCRAMSHA1OfOldAccounts(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	h := open(t, nil)
	h.domain("example.test")
	alice := h.account("alice@example.test")
	err := h.change(ctx, alice.ID, func(_ *accountRecord, s *credentialRecord) error {
		s.SCRAM1 = nil
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	with := func(mech, user string) error {
		return scramOnce(t, h, secured, mech, user, password, nil)
	}
	for _, user := range []string{"alice@example.test", "nobody@example.test"} {
		if err := with("SCRAM-SHA-1", user); err != ErrBadCredentials {
			t.Errorf("%s: %v", user, err)
		}
	}
	if err := with("SCRAM-SHA-256", "alice@example.test"); err != nil {
		t.Error(err)
	}
	if err := with("SCRAM-SHA-1", "alice@example.test"); err != ErrBadCredentials {
		t.Errorf("keys came from nowhere: %v", err)
	}
	if _, err := h.Authenticate(ctx, attempt("alice@example.test", password)); err != nil {
		t.Fatal(err)
	}
	if err := with("SCRAM-SHA-1", "alice@example.test"); err != nil {
		t.Error(err)
	}
	if err := h.SetPassword(ctx, alice.ID, "another-one-of-hers"); err != nil {
		t.Fatal(err)
	}
	if err := with("SCRAM-SHA-1", "alice@example.test"); err != ErrBadCredentials {
		t.Errorf("the old password: %v", err)
	}
}

// setSalt stores SCRAM keys with a salt of the test's choice.
func (h house) setSalt(hash *scramHash, id AccountID, password string, salt []byte, rounds int) {
	h.t.Helper()
	client, err := hash.generate.NewClientUnprepped("", password, "")
	if err != nil {
		h.t.Fatal(err)
	}
	c, err := client.GetStoredCredentialsWithError(scram.KeyFactors{Salt: string(salt), Iters: rounds})
	if err != nil {
		h.t.Fatal(err)
	}
	aead, err := h.sealer()
	if err != nil {
		h.t.Fatal(err)
	}
	nonce := make([]byte, aead.NonceSize())
	err = h.change(context.Background(), id, func(_ *accountRecord, s *credentialRecord) error {
		k := &scramKeys{Salt: salt, Iterations: rounds,
			Sealed: aead.Seal(nonce, nonce, append(c.StoredKey, c.ServerKey...), salt)}
		if s.SCRAM = k; hash == scramSHA1 {
			s.SCRAM, s.SCRAM1 = nil, k
		}
		return nil
	})
	if err != nil {
		h.t.Fatal(err)
	}
}

// hidden stands for a client that could bind and was shown no PLUS, RFC 5802 §6.
const hidden scram.ChannelBindingType = "hidden"

// scramOnce logs in as a client written by others does; change may spoil its messages.
func scramOnce(
	t *testing.T, h house, o SASLOptions, mech, user, password string, change func(step int, s string) string,
	binding ...scram.ChannelBinding,
) error {
	t.Helper()
	hash := scram.SHA256
	if strings.HasPrefix(mech, "SCRAM-SHA-1") {
		hash = scram.SHA1
	}
	client, err := hash.NewClient(user, password, "")
	if err != nil {
		t.Fatal(err)
	}
	c := client.NewConversation()
	switch {
	case len(binding) > 0 && binding[0].Type == hidden:
		c = client.NewConversationAdvertisingChannelBinding()
	case len(binding) > 0:
		c = client.NewConversationWithChannelBinding(binding[0])
	}
	x, err := h.Start(context.Background(), mech, o)
	if err != nil {
		t.Fatal(err)
	}
	challenge, done := []byte{}, false
	for i := 0; !done; i++ {
		response, err := c.Step(string(challenge))
		if err != nil {
			return err
		}
		if change != nil {
			response = change(i, response)
		}
		if challenge, done, err = x.Next([]byte(response)); err != nil {
			return err
		}
	}
	if !c.Valid() {
		return errors.New("the server has not proved itself")
	}
	return nil
}

func TestSCRAM(t *testing.T) {
	t.Parallel()
	h := open(t, nil)
	h.domain("example.test")
	alice := h.account("alice@example.test")
	off := h.account("off@example.test")
	h.account("a,b=c@example.test")
	if err := h.SetDisabled(context.Background(), off.ID, true); err != nil {
		t.Fatal(err)
	}
	// Clients prepare passwords by SASLprep, which is not what PLAIN's are prepared by.
	if err := h.SetPassword(context.Background(), alice.ID, "½ cup ﬁne ﬂour"); err != nil {
		t.Fatal(err)
	}
	replace := func(at int, old, by string) func(int, string) string {
		return func(i int, s string) string {
			if i == at {
				return strings.Replace(s, old, by, 1)
			}
			return s
		}
	}
	for _, tt := range []struct {
		what, user, password string
		change               func(int, string) string
		err                  error
	}{
		{"right", "alice@example.test", "½ cup ﬁne ﬂour", nil, nil},
		{"in capitals", "ALICE@EXAMPLE.TEST", "½ cup ﬁne ﬂour", nil, nil},
		{"escaped name", `"a,b=c"@example.test`, password, nil, nil},
		{"own authorization identity", "alice", "½ cup ﬁne ﬂour", nil, nil},
		{"wrong password", "alice@example.test", "wrong", nil, ErrBadCredentials},
		{"unknown user", "nobody@example.test", password, nil, ErrBadCredentials},
		{"disabled", "off@example.test", password, nil, ErrBadCredentials},
		{"another's nonce", "alice", "½ cup ﬁne ﬂour", replace(1, ",r=", ",r=x"), ErrMalformed},
		{"another's header", "alice", "½ cup ﬁne ﬂour", replace(1, "c=biws", "c=eSws"), ErrBadCredentials},
		{"no proof", "alice", "½ cup ﬁne ﬂour", replace(1, ",p=", ",x="), ErrMalformed},
		{"extension", "alice", "½ cup ﬁne ﬂour", replace(0, "n,,", "n,,m=x,"), ErrMalformed},
		{"binding without PLUS", "alice", "½ cup ﬁne ﬂour", replace(0, "n,,", "p=tls-exporter,,"), ErrMalformed},
		{"nonsense", "alice", "½ cup ﬁne ﬂour", func(int, string) string { return "x" }, ErrMalformed},
		{"data after the end", "alice", "½ cup ﬁne ﬂour", replace(2, "", "more"), ErrMalformed},
	} {
		for _, mech := range []string{"SCRAM-SHA-256", "SCRAM-SHA-1"} {
			err := scramOnce(t, h, secured, mech, tt.user, tt.password, tt.change)
			if err != tt.err {
				t.Errorf("%s, %s: %v, want %v", mech, tt.what, err, tt.err)
			}
			if err := h.Unban(context.Background(), home); err != nil {
				t.Fatal(err)
			}
		}
	}
	// Nobody logs in for another.
	for as, want := range map[string]error{"alice@example.test": nil, "off@example.test": ErrBadCredentials} {
		client, err := scram.SHA256.NewClient("alice@example.test", "½ cup ﬁne ﬂour", as)
		if err != nil {
			t.Fatal(err)
		}
		c := client.NewConversation()
		first, err := c.Step("")
		if err != nil {
			t.Fatal(err)
		}
		x, err := h.Start(context.Background(), "SCRAM-SHA-256", secured)
		if err != nil {
			t.Fatal(err)
		}
		challenge, _, err := x.Next([]byte(first))
		if err != nil {
			t.Fatal(err)
		}
		final, err := c.Step(string(challenge))
		if err != nil {
			t.Fatal(err)
		}
		if _, _, err := x.Next([]byte(final)); err != want {
			t.Errorf("alice for %s: %v", as, err)
		}
	}
}

// TestSCRAMHidesWhoExists proves that the first answer to an unknown user is like one to a known:
// the same salt each time, another one for another name (A3).
func TestSCRAMHidesWhoExists(t *testing.T) {
	t.Parallel()
	h := open(t, nil)
	h.domain("example.test")
	alice := h.account("alice@example.test")
	again := h.again(h.db)
	mech := "SCRAM-SHA-256"
	salt := func(h house, user string) string {
		t.Helper()
		x, err := h.Start(context.Background(), mech, secured)
		if err != nil {
			t.Fatal(err)
		}
		challenge, _, err := x.Next([]byte("n,,n=" + user + ",r=abc"))
		if err != nil {
			t.Fatal(err)
		}
		f := strings.Split(string(challenge), ",")
		if len(f) != 3 || f[2] != "i=4096" || len(f[1]) != len("s=")+24 || len(f[0]) != len("r=abc")+24 {
			t.Errorf("%s: %q", user, challenge)
		}
		return f[1]
	}
	for _, user := range []string{"alice@example.test", "nobody@example.test", "not an address"} {
		mech = "SCRAM-SHA-1"
		other := salt(h, user)
		if salt(again, user) != other {
			t.Errorf("%s: the salt for SHA-1 changes", user)
		}
		mech = "SCRAM-SHA-256"
		first := salt(h, user)
		if salt(h, user) != first || salt(again, user) != first {
			t.Errorf("%s: the salt changes", user)
		}
		if first == other {
			t.Errorf("%s: one salt for both hashes, which no real user has", user)
		}
	}
	before := salt(h, "alice@example.test")
	if err := h.SetDisabled(context.Background(), alice.ID, true); err != nil {
		t.Fatal(err)
	}
	if salt(h, "alice@example.test") != before {
		t.Error("the salt tells that an account was disabled")
	}
	if salt(h, "nobody@example.test") != salt(h, "NOBODY@example.test") {
		t.Error("the salt depends on case, which a real one does not")
	}
	if salt(h, "nobody@example.test") == salt(h, "nobody2@example.test") {
		t.Error("two unknown users have one salt")
	}
}

func TestSCRAMKeysAreSealed(t *testing.T) {
	t.Parallel()
	h := open(t, nil)
	h.domain("example.test")
	alice := h.account("alice@example.test")
	rec, err := h.cache.secret(context.Background(), alice.ID)
	if err != nil {
		t.Fatal(err)
	}
	c, err := h.openSCRAM(scramSHA256, rec.SCRAM)
	if err != nil {
		t.Fatal(err)
	}
	b64 := base64.StdEncoding.EncodeToString(c.StoredKey)
	if dump := h.dump(); strings.Contains(dump, string(c.StoredKey)) || strings.Contains(dump, b64) {
		t.Error("the stored key is in the database as it is")
	}
	for _, spoil := range []func(*scramKeys){
		func(k *scramKeys) { k.Sealed[len(k.Sealed)-1] ^= 1 },
		func(k *scramKeys) { k.Salt[0] ^= 1 },
		func(k *scramKeys) { k.Sealed = k.Sealed[:5] },
		func(k *scramKeys) { k.Sealed = nil },
	} {
		k := *rec.SCRAM
		k.Salt, k.Sealed = append([]byte(nil), k.Salt...), append([]byte(nil), k.Sealed...)
		spoil(&k)
		if _, err := h.openSCRAM(scramSHA256, &k); !errors.Is(err, kv.ErrCorrupt) {
			t.Errorf("spoiled keys open: %v", err)
		}
	}
}

// pair is a TLS connection with both ends' states.
func pair(t *testing.T, version uint16) (server, client tls.ConnectionState, leaf *x509.Certificate) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour),
		DNSNames: []string{"mail.example.test"}}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	if leaf, err = x509.ParseCertificate(der); err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AddCert(leaf)
	a, b := net.Pipe()
	s := tls.Server(a, &tls.Config{MinVersion: version, MaxVersion: version,
		Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}})
	c := tls.Client(b, &tls.Config{RootCAs: roots, ServerName: "mail.example.test"})
	t.Cleanup(func() { a.Close(); b.Close() })
	failed := make(chan error, 1)
	go func() { failed <- s.Handshake() }()
	if err := errors.Join(c.Handshake(), <-failed); err != nil {
		t.Fatal(err)
	}
	return s.ConnectionState(), c.ConnectionState(), leaf
}

// TestSCRAMPlus binds log-ins to their TLS connection, RFC 9266 and RFC 5929.
func TestSCRAMPlus(t *testing.T) {
	t.Parallel()
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		server, client, leaf := pair(t, version)
		_, elsewhere, _ := pair(t, version)
		h := open(t, func(o *Options) {
			o.ServerCertificate = func(*tls.ConnectionState) *x509.Certificate { return leaf }
		})
		plain := h.again(h.db)
		h.domain("example.test")
		h.account("alice@example.test")
		h.clock.Advance(pollEvery)
		const plus, plus1 = "SCRAM-SHA-256-PLUS", "SCRAM-SHA-1-PLUS"
		exporter, err1 := scram.NewTLSExporterBinding(&client)
		endpoint, err2 := scram.NewTLSServerEndpointBinding(&client)
		other, err3 := scram.NewTLSExporterBinding(&elsewhere)
		otherEnd, err4 := scram.NewTLSServerEndpointBinding(&elsewhere)
		if err := errors.Join(err1, err2, err3, err4); err != nil {
			t.Fatal(err)
		}
		unique := scram.ChannelBinding{Type: "tls-unique", Data: []byte("x")}
		strange := scram.ChannelBinding{Type: "tls-new", Data: []byte("x")}
		o := SASLOptions{Protocol: IMAP, Remote: home, TLS: &server}
		for _, tt := range []struct {
			what    string
			h       house
			mech    string
			binding []scram.ChannelBinding
			err     error
		}{
			{"exporter", h, plus, []scram.ChannelBinding{exporter}, nil},
			{"end point", h, plus, []scram.ChannelBinding{endpoint}, nil},
			{"SHA-1, exporter", h, plus1, []scram.ChannelBinding{exporter}, nil},
			{"SHA-1, end point", h, plus1, []scram.ChannelBinding{endpoint}, nil},
			{"SHA-1, another connection", h, plus1, []scram.ChannelBinding{other}, ErrBadCredentials},
			{"SHA-1, hidden PLUS", h, "SCRAM-SHA-1", []scram.ChannelBinding{{Type: hidden}}, ErrBadCredentials},
			{"end point nobody knows", plain, plus, []scram.ChannelBinding{endpoint}, ErrBadCredentials},
			{"exporter without end point", plain, plus, []scram.ChannelBinding{exporter}, nil},
			{"another connection", h, plus, []scram.ChannelBinding{other}, ErrBadCredentials},
			{"another certificate", h, plus, []scram.ChannelBinding{otherEnd}, ErrBadCredentials},
			{"obsolete kind", h, plus, []scram.ChannelBinding{unique}, ErrBadCredentials},
			{"strange kind", h, plus, []scram.ChannelBinding{strange}, ErrMalformed},
			{"PLUS unbound", h, plus, nil, ErrMalformed},
			{"bound without PLUS", h, "SCRAM-SHA-256", []scram.ChannelBinding{exporter}, ErrMalformed},
			{"client that cannot bind", h, "SCRAM-SHA-256", nil, nil},
			// Somebody on the way hid PLUS from a client that can bind, RFC 5802 §6.
			{"hidden PLUS", h, "SCRAM-SHA-256", []scram.ChannelBinding{{Type: hidden}}, ErrBadCredentials},
		} {
			err := scramOnce(t, tt.h, o, tt.mech, "alice@example.test", password, nil, tt.binding...)
			if !errors.Is(err, tt.err) {
				t.Errorf("TLS %x, %s: %v, want %v", version, tt.what, err, tt.err)
			}
		}
	}
}

// TestSCRAMPlusWithoutAnythingToBind proves that PLUS fails where the connection has nothing to bind
// to, rather than go on without, and that the name of the certificate is not taken on trust.
func TestSCRAMPlusWithoutAnythingToBind(t *testing.T) {
	t.Parallel()
	h := open(t, func(o *Options) {
		o.ServerCertificate = func(*tls.ConnectionState) *x509.Certificate { return nil }
	})
	h.domain("example.test")
	h.account("alice@example.test")
	server, _, leaf := pair(t, tls.VersionTLS13)
	sum := sha256.Sum256(leaf.Raw)
	for _, tt := range []struct {
		what    string
		state   tls.ConnectionState
		binding scram.ChannelBinding
	}{
		{"handshake not over", tls.ConnectionState{}, scram.ChannelBinding{Type: "tls-exporter", Data: make([]byte, 32)}},
		{"handshake not over, certificate", tls.ConnectionState{},
			scram.ChannelBinding{Type: "tls-server-end-point", Data: sum[:]}},
		{"certificate not known", server, scram.ChannelBinding{Type: "tls-server-end-point", Data: sum[:]}},
		{"no certificate", server, scram.ChannelBinding{Type: "tls-server-end-point", Data: []byte{0}}},
	} {
		o := SASLOptions{Protocol: IMAP, Remote: home, TLS: &tt.state}
		err := scramOnce(t, h, o, "SCRAM-SHA-256-PLUS", "alice@example.test", password, nil, tt.binding)
		if !errors.Is(err, ErrBadCredentials) {
			t.Errorf("%s: %v", tt.what, err)
		}
	}
	if _, err := exportBinding(&tls.ConnectionState{}); err == nil {
		t.Error("keys of a handshake that is not over are bound to")
	}
}

// TestSCRAMFailuresCount proves that wrong proofs and wrong bindings count as guesses, and that
// nonsense does not, nor does it hold a place at its source.
func TestSCRAMFailuresCount(t *testing.T) {
	t.Parallel()
	server, client, _ := pair(t, tls.VersionTLS13)
	_, elsewhere, _ := pair(t, tls.VersionTLS13)
	right, err1 := scram.NewTLSExporterBinding(&client)
	wrong, err2 := scram.NewTLSExporterBinding(&elsewhere)
	if err := errors.Join(err1, err2); err != nil {
		t.Fatal(err)
	}
	h := open(t, nil)
	h.domain("example.test")
	h.account("alice@example.test")
	o := SASLOptions{Protocol: IMAP, Remote: home, TLS: &server}
	nonsense := func(i int, s string) string {
		if i == 1 {
			return strings.Replace(s, ",r=", ",r=x", 1)
		}
		return s
	}
	try := func(password string, change func(int, string) string, b scram.ChannelBinding) error {
		return scramOnce(t, h, o, "SCRAM-SHA-256-PLUS", "alice@example.test", password, change, b)
	}
	for range 30 {
		if err := try(password, nonsense, right); err != ErrMalformed {
			t.Fatalf("nonsense: %v", err)
		}
	}
	for i := range 10 {
		guess, b := "wrong", right
		if i%2 == 0 {
			guess, b = password, wrong
		}
		if err := try(guess, nil, b); err != ErrBadCredentials {
			t.Fatalf("failure %d: %v", i, err)
		}
	}
	if err := try(password, nil, right); !errors.As(err, new(ErrThrottled)) {
		t.Errorf("after ten wrong ones: %v", err)
	}
	own, _ := sources(home)
	if s := h.throttle.source(own); s.inflight != 0 || len(s.failures) != 10 {
		t.Errorf("%d being checked, %d failures", s.inflight, len(s.failures))
	}
}

func TestEndPointHash(t *testing.T) {
	t.Parallel()
	raw := []byte("certificate")
	s256, s384, s512 := sha256.Sum256(raw), sha512.Sum384(raw), sha512.Sum512(raw)
	for alg, want := range map[x509.SignatureAlgorithm][]byte{
		x509.SHA1WithRSA: s256[:], x509.ECDSAWithSHA256: s256[:], x509.PureEd25519: s256[:],
		x509.SHA384WithRSAPSS: s384[:], x509.ECDSAWithSHA384: s384[:], x509.ECDSAWithSHA512: s512[:],
	} {
		if got := endPoint(&x509.Certificate{Raw: raw, SignatureAlgorithm: alg}); string(got) != string(want) {
			t.Errorf("%v: %d bytes", alg, len(got))
		}
	}
}
