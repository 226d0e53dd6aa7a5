// Package limits answers "how much is too much?": every bound on input from outside, on time and
// on work, in one table with its default, its hard cap and its reason.
//
// A room takes the part of [Set] that concerns it and keeps no numbers of its own. A limit may be
// lowered freely in the configuration; raising one past its hard cap needs the key's name with
// `unsafe_` before it. [Set.Table] lists every limit for the operator.
package limits

import "time"

// Units of size.
const (
	KiB = 1 << 10
	MiB = 1 << 20
	GiB = 1 << 30
)

// Set is every limit of a running server. Field tags: toml is the configuration key, cap the hard
// cap (a number, or a duration), why the reason.
type Set struct {
	SMTP    SMTP    `toml:"smtp"`
	Client  Client  `toml:"smtp_client"`
	Queue   Queue   `toml:"queue"`
	Message Message `toml:"message"`
	IMAP    IMAP    `toml:"imap"`
	POP3    POP3    `toml:"pop3"`
	Conn    Conn    `toml:"connections"`
	Auth    Auth    `toml:"auth"`
	DNS     DNS     `toml:"dns"`
	Storage Storage `toml:"storage"`
	HTTP    HTTP    `toml:"http"`

	MailAuth MailAuth `toml:"authentication"`

	TLSPolicy TLSPolicy `toml:"tls_policy"`
	Words     Words     `toml:"words"`
	Spam      Spam      `toml:"spam"`
	Reports   Reports   `toml:"reports"`
	Content   Content   `toml:"content"`
	Scan      Scan      `toml:"scan"`
	Signing   Signing   `toml:"signing"`
}

// SMTP bounds what a client of port 25, 465, 587 or LMTP may send.
type SMTP struct {
	CommandLine      int           `toml:"command_line" cap:"12288" why:"RFC 5321 §4.5.3.1.4 asks for 512; extensions lengthen it"`
	AuthLine         int           `toml:"auth_line" cap:"12288" why:"RFC 4954 §4 asks for 12288"`
	TextLine         int           `toml:"text_line" cap:"1048576" why:"RFC 5321 §4.5.3.1.6 asks for 1000; longer ones are real mail"`
	MessageSize      int64         `toml:"message_size" cap:"209715200" why:"announced by SIZE and enforced while reading"`
	Recipients       int           `toml:"recipients" cap:"1000" why:"RFC 5321 §4.5.3.1.8 asks for 100"`
	SubmitRecipients int           `toml:"submit_recipients" cap:"1000" why:"people write to lists"`
	ErrorsDelay      int           `toml:"errors_delay" cap:"100" why:"a client that errs is slowed by a second per command"`
	ErrorsClose      int           `toml:"errors_close" cap:"1000" why:"then closed"`
	InvalidRcpt      int           `toml:"invalid_recipients" cap:"1000" why:"address harvesting"`
	Transactions     int           `toml:"transactions" cap:"100000" why:"per unauthenticated session"`
	SessionLife      time.Duration `toml:"session_life" cap:"24h" why:"an unauthenticated session ends"`
	Idle             time.Duration `toml:"idle" cap:"30m" why:"RFC 5321 §4.5.3.2.7 asks for 5 minutes"`
	IdleStress       time.Duration `toml:"idle_stress" cap:"5m" why:"when four fifths of the slots are taken"`
	DataBlock        time.Duration `toml:"data_block" cap:"30m" why:"RFC 5321 §4.5.3.2.5: 3 minutes per block"`
	DataRate         int           `toml:"data_rate" cap:"1048576" why:"bytes per second after DataGrace: against slow senders"`
	DataGrace        time.Duration `toml:"data_grace" cap:"10m" why:"time before DataRate holds"`
	DataTotal        time.Duration `toml:"data_total" cap:"6h" why:"a whole message"`
	Hops             int           `toml:"received_hops" cap:"100" why:"RFC 5321 §6.3 asks for at least 100 or other means; Postfix 50"`
	OwnHops          int           `toml:"own_hops" cap:"50" why:"times a message may pass this server"`
	HoldMax          time.Duration `toml:"hold" cap:"8760h" why:"RFC 4865 §4: how far ahead a submission may ask to be held"`
}

// Client bounds the sending side, RFC 5321 §4.5.3.2.
type Client struct {
	Connect    time.Duration `toml:"connect" cap:"5m" why:"a dead address must not hold a worker"`
	Greeting   time.Duration `toml:"greeting" cap:"10m" why:"RFC 5321 §4.5.3.2.1"`
	Handshake  time.Duration `toml:"tls_handshake" cap:"5m" why:"a TLS handshake"`
	Mail       time.Duration `toml:"mail" cap:"10m" why:"RFC 5321 §4.5.3.2.2"`
	Rcpt       time.Duration `toml:"rcpt" cap:"10m" why:"RFC 5321 §4.5.3.2.3"`
	Data       time.Duration `toml:"data" cap:"10m" why:"RFC 5321 §4.5.3.2.4"`
	Block      time.Duration `toml:"block" cap:"10m" why:"RFC 5321 §4.5.3.2.5"`
	Dot        time.Duration `toml:"dot" cap:"30m" why:"RFC 5321 §4.5.3.2.6"`
	Quit       time.Duration `toml:"quit" cap:"5m" why:"nothing depends on it"`
	ReplyLine  int           `toml:"reply_line" cap:"65536" why:"RFC 5321 §4.5.3.1.5 asks for 512"`
	ReplyLines int           `toml:"reply_lines" cap:"1000" why:"an endless reply"`
}

// Queue bounds the retries and the parallelism of what leaves.
type Queue struct {
	FirstRetry   time.Duration `toml:"first_retry" cap:"24h" why:"greylisting lifts after five minutes"`
	Factor       float64       `toml:"factor" cap:"10" why:"RFC 5321 §4.5.4.1: delays grow"`
	MaxRetry     time.Duration `toml:"max_retry" cap:"48h" why:"a host that comes back is found within hours"`
	Jitter       float64       `toml:"jitter" cap:"1" why:"retries spread"`
	Warn         time.Duration `toml:"warn" cap:"120h" why:"the sender hears of a delay"`
	Expire       time.Duration `toml:"expire" cap:"720h" why:"RFC 5321 §4.5.4.1: 4-5 days"`
	ExpireNotice time.Duration `toml:"expire_notice" cap:"720h" why:"a DSN nobody takes"`
	Workers      int           `toml:"workers" cap:"10000" why:"sessions open at once"`
	DestMin      int           `toml:"destination_min" cap:"100" why:"sessions to one destination at first"`
	DestMax      int           `toml:"destination_max" cap:"1000" why:"and at most"`
	PerSession   int           `toml:"messages_per_session" cap:"10000" why:"connections are given back"`
	Reuse        time.Duration `toml:"session_reuse" cap:"5m" why:"an open session waits for the next message"`
	Slow         time.Duration `toml:"slow_after" cap:"10m" why:"a silent session gives its worker up to others"`
	SlowSessions int           `toml:"slow_sessions" cap:"100000" why:"silent sessions beside the workers"`
	Active       int           `toml:"active_destinations" cap:"1000000" why:"destinations in memory with work to do"`
	Remembered   int           `toml:"remembered_destinations" cap:"1000000" why:"destinations in memory"`
	PerDay       int           `toml:"account_messages_per_day" cap:"1000000" why:"a stolen account"`
	NewPerDay    int           `toml:"account_new_recipients_per_day" cap:"1000000" why:"a stolen account"`
	Burst        int           `toml:"account_messages_per_minute" cap:"100000" why:"a stolen account"`
}

// Message bounds what the MIME parser makes of a message; beyond it a part is an opaque leaf.
type Message struct {
	HeaderBytes    int   `toml:"header_bytes" cap:"4194304" why:"Postfix 100 KiB a field"`
	FieldBytes     int   `toml:"field_bytes" cap:"1048576" why:"one field"`
	Fields         int   `toml:"fields" cap:"10000" why:"fields in one header"`
	Addresses      int   `toml:"addresses_per_field" cap:"10000" why:"CVE-2024-23184"`
	TotalAddresses int   `toml:"addresses" cap:"20000" why:"CVE-2024-23184"`
	Depth          int   `toml:"depth" cap:"100" why:"nested multiparts"`
	Parts          int   `toml:"parts" cap:"10000" why:"Dovecot 10,000"`
	Params         int   `toml:"params" cap:"1000" why:"parameters of one field"`
	Boundary       int   `toml:"boundary" cap:"256" why:"RFC 2046 §5.1.1: 70"`
	References     int   `toml:"references" cap:"10000" why:"the newest are kept"`
	Preview        int   `toml:"preview" cap:"1024" why:"RFC 8970 §4.1: 200 characters or more"`
	SearchText     int64 `toml:"search_text" cap:"67108864" why:"decoded text of one message that is indexed"`
}

// IMAP bounds what a client of 143 and 993 may send.
type IMAP struct {
	PreAuthLine     int           `toml:"preauth_line" cap:"65536" why:"CVE-2024-34055"`
	PreAuthLiterals int           `toml:"preauth_literals" cap:"65536" why:"CVE-2024-34055"`
	PreAuthIdle     time.Duration `toml:"preauth_idle" cap:"10m" why:"time to log in"`
	PreAuthCommands int           `toml:"preauth_commands" cap:"100" why:"commands without progress"`
	Line            int           `toml:"line" cap:"1048576" why:"a UID set of a big mailbox"`
	Literals        int           `toml:"literals" cap:"4194304" why:"of one command, APPEND aside"`
	Quoted          int           `toml:"quoted" cap:"65536" why:"RFC 9051 has no bound"`
	Depth           int           `toml:"depth" cap:"100" why:"parentheses: CVE-2026-27857"`
	Ranges          int           `toml:"ranges" cap:"100000" why:"of one sequence set"`
	BadCommands     int           `toml:"bad_commands" cap:"1000" why:"in a row, then closed"`
	AppendSize      int64         `toml:"append_size" cap:"209715200" why:"one message"`
	AppendSum       int64         `toml:"append_sum" cap:"1073741824" why:"all messages of one MULTIAPPEND"`
	AppendMessages  int           `toml:"append_messages" cap:"10000" why:"of one MULTIAPPEND: each holds its last bytes until all are there"`
	CommandMessages int           `toml:"command_messages" cap:"100000000" why:"RFC 9738 §3: of one STORE, COPY, MOVE; at least 1000"`
	AppendParts     int           `toml:"append_parts" cap:"10000" why:"of one CATENATE: each is looked up"`
	Idle            time.Duration `toml:"idle" cap:"24h" why:"RFC 9051 §5.4: at least 30 minutes"`
	WriteStall      time.Duration `toml:"write_stall" cap:"30m" why:"a client that stopped reading"`
	SearchTime      time.Duration `toml:"search_time" cap:"10m" why:"one SEARCH"`
	KeywordBytes    int           `toml:"keyword_bytes" cap:"1000" why:"one keyword"`
	Contexts        int           `toml:"contexts" cap:"1000" why:"RFC 5267 §4.3.1: results of one session that are kept up to date"`
	ContextMessages int           `toml:"context_messages" cap:"10000000" why:"messages in them, if sorted: 4 bytes each"`
	SearchMailboxes int           `toml:"search_mailboxes" cap:"100000" why:"RFC 7377 §2.4: of one ESEARCH"`
	NotifyMailboxes int           `toml:"notify_mailboxes" cap:"100000" why:"of an account that NOTIFY watches"`
	FetchMemory     int64         `toml:"fetch_memory" cap:"17179869184" why:"of all sessions: replies made ready at full speed, 1 MiB each"`
	Connections     int           `toml:"connections" cap:"1000000" why:"per listener; an idle one takes some 25 KiB"`
}

// POP3 bounds its sessions.
type POP3 struct {
	Line            int           `toml:"line" cap:"65536" why:"RFC 2449 §4: 255; addresses may be longer"`
	PreAuthIdle     time.Duration `toml:"login_time" cap:"10m" why:"to log in"`
	PreAuthCommands int           `toml:"login_commands" cap:"1000" why:"without a log-in"`
	BadCommands     int           `toml:"bad_commands" cap:"1000" why:"in a row"`
	Idle            time.Duration `toml:"idle" cap:"24h" why:"RFC 1939 §3: at least 10 minutes"`
	WriteStall      time.Duration `toml:"write_stall" cap:"30m" why:"a client that stopped reading"`
	Connections     int           `toml:"connections" cap:"1000000" why:"per listener"`
}

// Conn bounds connections, for every line protocol.
type Conn struct {
	PerIP        int           `toml:"per_ip" cap:"10000" why:"/32 or /64; mox 30"`
	PerUser      int           `toml:"per_user" cap:"10000" why:"over all addresses"`
	PerUserIP    int           `toml:"per_user_ip" cap:"10000" why:"mail programs open several"`
	Total        int           `toml:"total" cap:"1000000" why:"per listener of mail that comes in"`
	NewPerMinute int           `toml:"new_per_minute" cap:"1000000" why:"per address; mox 300"`
	Reserved     float64       `toml:"reserved" cap:"0.9" why:"share of the slots for sources with good history"`
	Handshake    time.Duration `toml:"tls_handshake" cap:"5m" why:"a TLS handshake"`
	ProxyHeader  time.Duration `toml:"proxy_header" cap:"1m" why:"the PROXY header"`
	Drain        time.Duration `toml:"drain" cap:"10m" why:"to finish what runs at shutdown"`
}

// Auth bounds guessing and the cost of checking.
type Auth struct {
	ArgonMemoryKiB uint32        `toml:"argon_memory_kib" cap:"4194304" why:"OWASP floor 19 MiB"`
	ArgonTime      uint32        `toml:"argon_time" cap:"100" why:"passes"`
	SCRAMRounds    int           `toml:"scram_iterations" cap:"1000000" why:"RFC 7677 §4 asks for 4096; paid by the client"`
	HashQueue      int           `toml:"hash_queue" cap:"10000" why:"waiting checks; then busy"`
	PasswordMin    int           `toml:"password_min" cap:"64" why:"NIST SP 800-63B"`
	PasswordMax    int           `toml:"password_max" cap:"4096" why:"hash cost"`
	CacheTTL       time.Duration `toml:"cache_ttl" cap:"1h" why:"a success is remembered"`
	PerMinute      int           `toml:"failures_per_minute" cap:"10000" why:"per /32 or /64"`
	PerDay         int           `toml:"failures_per_day" cap:"100000" why:"per /32 or /64"`
	WiderFactor    int           `toml:"wider_factor" cap:"100" why:"times the above per /24 or /56"`
	AccountPerHour int           `toml:"account_failures_per_hour" cap:"10000" why:"then unknown sources wait"`
	DelayMin       time.Duration `toml:"delay_min" cap:"1m" why:"the first wait"`
	DelayMax       time.Duration `toml:"delay_max" cap:"10m" why:"the last wait"`
	BanMin         time.Duration `toml:"ban_min" cap:"24h" why:"the first ban"`
	BanMax         time.Duration `toml:"ban_max" cap:"720h" why:"the last ban"`
	Tarpit         time.Duration `toml:"tarpit" cap:"1m" why:"every failure waits"`
	SASLBytes      int           `toml:"sasl_bytes" cap:"65536" why:"one response, decoded"`
	Sources        int           `toml:"sources" cap:"10000000" why:"addresses and accounts whose failures are kept in memory"`
	KnownFor       time.Duration `toml:"known_for" cap:"8760h" why:"a source that logged in once is trusted more"`
	AppPasswords   int           `toml:"app_passwords" cap:"1000" why:"per account"`
	AliasDepth     int           `toml:"alias_depth" cap:"50" why:"aliases of aliases"`
	AliasTargets   int           `toml:"alias_targets" cap:"100000" why:"one address leads to at most"`
}

// DNS bounds look-ups.
type DNS struct {
	Query time.Duration `toml:"query" cap:"1m" why:"one query"`
	Tries int           `toml:"tries" cap:"10" why:"per look-up"`
	Total time.Duration `toml:"total" cap:"5m" why:"all look-ups of one message"`
	Cache int           `toml:"cache" cap:"10000000" why:"answers kept"`
	MX    int           `toml:"mx" cap:"1000" why:"exchangers tried of one domain"`
	Addrs int           `toml:"addresses" cap:"1000" why:"addresses tried of one exchanger"`
	CNAME int           `toml:"cname_chain" cap:"32" why:"RFC 1034 §3.6.2: aliases of aliases"`
	// MaxTTL and MaxNegative shorten what a zone asks for.
	MaxTTL      time.Duration `toml:"max_ttl" cap:"168h" why:"a mistake in a zone ends"`
	MaxNegative time.Duration `toml:"max_negative_ttl" cap:"24h" why:"RFC 2308 §5: 1-3 hours"`
}

// Storage bounds what is kept and for how long.
type Storage struct {
	Reserve          int64         `toml:"reserve" cap:"1099511627776" why:"free bytes below which nothing is accepted; at least 2 % of the disk"`
	ReservePercent   int           `toml:"reserve_percent" cap:"50" why:"the larger of the two holds"`
	Ballast          int64         `toml:"ballast" cap:"17179869184" why:"given up so that deleting works on a full disk"`
	BlobGrace        time.Duration `toml:"blob_grace" cap:"720h" why:"before an unreferenced body goes"`
	Recoverable      time.Duration `toml:"recoverable" cap:"8760h" why:"deleted mail can be brought back"`
	RecoverableBytes int64         `toml:"recoverable_bytes" cap:"1099511627776" why:"deleted mail per account beside the quota; the oldest goes first"`
	ChangeLog        int           `toml:"change_log" cap:"10000000" why:"transactions kept per account"`
	Expunged         int           `toml:"expunged" cap:"10000000" why:"UIDs kept per mailbox for QRESYNC"`
	Mailboxes        int           `toml:"mailboxes" cap:"1000000" why:"per account; as many subscriptions"`
	Keywords         int           `toml:"keywords" cap:"100000" why:"different ones per account"`
	NameBytes        int           `toml:"mailbox_name_bytes" cap:"4096" why:"full name"`
	NameDepth        int           `toml:"mailbox_depth" cap:"100" why:"levels of a name"`
	MetadataEntries  int           `toml:"metadata_entries" cap:"10000" why:"annotations of one mailbox, of an account itself, of a domain; RFC 5464 §4.1: at least 10"`
	MetadataValue    int           `toml:"metadata_value" cap:"1048576" why:"one annotation; RFC 5464 §4.1: at least 1,024"`
	MetadataBytes    int64         `toml:"metadata_bytes" cap:"67108864" why:"all annotations of an account with its mailboxes, or of a domain"`
	ACLEntries       int           `toml:"acl_entries" cap:"10000" why:"people that one mailbox is shared with"`
	Dedupe           time.Duration `toml:"dedupe" cap:"24h" why:"a repetition after a lost 250, RFC 1047"`
	Trace            time.Duration `toml:"trace" cap:"8760h" why:"message timelines are kept"`
}

// HTTP bounds the web front.
type HTTP struct {
	ReadHeader time.Duration `toml:"read_header" cap:"1m" why:"slow headers"`
	Read       time.Duration `toml:"read" cap:"10m" why:"slow bodies"`
	Write      time.Duration `toml:"write" cap:"10m" why:"slow readers"`
	Idle       time.Duration `toml:"idle" cap:"1h" why:"kept alive"`
	Header     int           `toml:"header" cap:"1048576" why:"bytes of the header"`
	Body       int64         `toml:"body" cap:"1073741824" why:"bytes of a request to the administration API"`
}
