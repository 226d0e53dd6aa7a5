package limits

import "time"

// Content bounds what is made of one message when its content is judged, and what the process that
// opens attachments may use.
type Content struct {
	Text      int   `toml:"text" cap:"4194304" why:"bytes of decoded text the classifier reads"`
	HTML      int64 `toml:"html" cap:"16777216" why:"bytes of HTML looked at; beyond it mail is padding"`
	Links     int   `toml:"links" cap:"10000" why:"addresses kept; all are looked at"`
	Files     int   `toml:"files" cap:"10000" why:"attachments listed, archives' content included"`
	FileBytes int64 `toml:"file_bytes" cap:"209715200" why:"an attachment that is opened"`

	Unpacked    int64 `toml:"unpacked" cap:"4294967296" why:"bytes out of one attachment: P12"`
	Entries     int   `toml:"entries" cap:"1000000" why:"names in the archives of one attachment: P12"`
	ArchiveDeep int   `toml:"archive_depth" cap:"64" why:"archives in archives: P12"`

	DecodeTime   time.Duration `toml:"decode_time" cap:"2m" why:"one attachment, by the clock: P12"`
	DecodeCPU    time.Duration `toml:"decode_cpu" cap:"1m" why:"one attachment, of the processor: P12"`
	DecodeMemory int64         `toml:"decode_memory" cap:"4294967296" why:"of the process that opens it: P12"`
	Decoders     int           `toml:"decoders" cap:"64" why:"such processes at once"`

	Readings     int   `toml:"readings" cap:"100000" why:"ways to read one message: M10"`
	ReadingBytes int64 `toml:"reading_bytes" cap:"17179869184" why:"bytes of them all: M10"`
	ReadingTimes int64 `toml:"reading_times" cap:"100000" why:"bytes of them all, in sizes of the message, beside 8 MiB"`
	Delimiters   int   `toml:"delimiters" cap:"1000" why:"boundaries that a message may be thought to have: M10"`
}

func defaultContent() Content {
	return Content{
		Text: 64 * KiB, HTML: MiB, Links: 200, Files: 500, FileBytes: 64 * MiB,
		Unpacked: 256 * MiB, Entries: 10000, ArchiveDeep: 8,
		DecodeTime: 10 * time.Second, DecodeCPU: 5 * time.Second, DecodeMemory: 256 * MiB, Decoders: 2,
		Readings: 4000, ReadingBytes: GiB, ReadingTimes: 75, Delimiters: 64,
	}
}
