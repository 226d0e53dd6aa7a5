package bimi

import (
	"bytes"
	"compress/gzip"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/x509"
	"encoding/asn1"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"golang.org/x/crypto/cryptobyte"
	cbasn1 "golang.org/x/crypto/cryptobyte/asn1"

	"tram/internal/limits"
)

// ErrMark says that a mark certificate is none, or one that cannot be used.
var ErrMark = errors.New("mark certificate cannot be used")

var (
	oidLogotype = asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 1, 12} // RFC 3709 §4.1
	oidUsage    = asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 3, 31} // id-kp-BrandIndicatorforMessageIdentification
	oidKind     = asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 53087, 1, 13}

	oidSHA1   = asn1.ObjectIdentifier{1, 3, 14, 3, 2, 26}
	oidSHA256 = asn1.ObjectIdentifier{2, 16, 840, 1, 101, 3, 4, 2, 1}
	oidSHA384 = asn1.ObjectIdentifier{2, 16, 840, 1, 101, 3, 4, 2, 2}
	oidSHA512 = asn1.ObjectIdentifier{2, 16, 840, 1, 101, 3, 4, 2, 3}
)

// Mark is a mark certificate with its chain and the icon that is in it.
type Mark struct {
	Leaf         *x509.Certificate
	Chain        []*x509.Certificate // without Leaf
	Organization string
	Kind         string // markType of the subject, "" when it names none
	SVG          []byte // not looked into yet
}

// chainMost is how many certificates a file may hold.
const chainMost = 10

// ParseMark reads a PEM file: the mark certificate, then those above it.
func ParseMark(file []byte, l limits.Reports) (*Mark, error) {
	m := &Mark{}
	for n := 0; ; n++ {
		var block *pem.Block
		block, file = pem.Decode(file)
		if block == nil {
			break
		}
		if block.Type != "CERTIFICATE" || n >= chainMost {
			return nil, fmt.Errorf("%w: the file holds a %.30q, or more than %d certificates",
				ErrMark, block.Type, chainMost)
		}
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("%w: %w", ErrMark, err)
		}
		if m.Leaf == nil {
			m.Leaf = c
			continue
		}
		m.Chain = append(m.Chain, c)
	}
	if m.Leaf == nil {
		return nil, fmt.Errorf("%w: the file holds no certificate", ErrMark)
	}
	if len(m.Leaf.Subject.Organization) > 0 {
		m.Organization = m.Leaf.Subject.Organization[0]
	}
	for _, name := range m.Leaf.Subject.Names {
		if s, ok := name.Value.(string); ok && name.Type.Equal(oidKind) {
			m.Kind = s
		}
	}
	for _, e := range m.Leaf.Extensions {
		if e.Id.Equal(oidLogotype) {
			svg, err := logotype(e.Value, l)
			if err != nil {
				return nil, fmt.Errorf("%w: %w", ErrMark, err)
			}
			m.SVG = svg
			return m, nil
		}
	}
	return nil, fmt.Errorf("%w: it holds no icon", ErrMark)
}

// Verify reports why the certificate does not vouch for a domain, nil when it does: its chain must lead
// to one of the roots, it must be meant for this, hold now, and name the domain or its organisational
// one.
func (m *Mark) Verify(roots *x509.CertPool, domain, organizational string, now time.Time) error {
	if roots == nil {
		return fmt.Errorf("%w: no authority for marks is configured", ErrMark)
	}
	if !slices.ContainsFunc(m.Leaf.UnknownExtKeyUsage, oidUsage.Equal) {
		return fmt.Errorf("%w: it is not meant for icons", ErrMark)
	}
	if !m.names(domain) && (organizational == "" || !m.names(organizational)) {
		return fmt.Errorf("%w: it does not name %s", ErrMark, domain)
	}
	between := x509.NewCertPool()
	for _, c := range m.Chain {
		between.AddCert(c)
	}
	_, err := m.Leaf.Verify(x509.VerifyOptions{Roots: roots, Intermediates: between, CurrentTime: now,
		KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny}})
	if err != nil {
		return fmt.Errorf("%w: %w", ErrMark, err)
	}
	return nil
}

func (m *Mark) names(domain string) bool {
	return slices.ContainsFunc(m.Leaf.DNSNames, func(n string) bool {
		return strings.EqualFold(n, domain) || strings.EqualFold(n, "default._bimi."+domain)
	})
}

// logotype takes the icon out of the extension, RFC 3709 §4.1:
//
//	LogotypeExtn  ::= SEQUENCE { communityLogos [0], issuerLogo [1], subjectLogo [2], otherLogos [3] }
//	subjectLogo   ::= [2] EXPLICIT LogotypeInfo
//	LogotypeInfo  ::= CHOICE { direct [0] LogotypeData, indirect [1] LogotypeReference }
//	LogotypeData  ::= SEQUENCE { image SEQUENCE OF LogotypeImage OPTIONAL, audio [1] … }
//	LogotypeImage ::= SEQUENCE { imageDetails LogotypeDetails, imageInfo OPTIONAL }
func logotype(der []byte, l limits.Reports) ([]byte, error) {
	broken := errors.New("its icon cannot be read")
	in := cryptobyte.String(der)
	var extn, subject, direct, images, image, details cryptobyte.String
	if !in.ReadASN1(&extn, cbasn1.SEQUENCE) {
		return nil, broken
	}
	for tag := range 2 { // the community's and the issuer's logos are not the domain's
		t := cbasn1.Tag(tag).ContextSpecific().Constructed()
		if !extn.SkipOptionalASN1(t) {
			return nil, broken
		}
	}
	if !extn.ReadASN1(&subject, cbasn1.Tag(2).ContextSpecific().Constructed()) ||
		!subject.ReadASN1(&direct, cbasn1.Tag(0).ContextSpecific().Constructed()) ||
		!direct.ReadASN1(&images, cbasn1.SEQUENCE) ||
		!images.ReadASN1(&image, cbasn1.SEQUENCE) ||
		!image.ReadASN1(&details, cbasn1.SEQUENCE) {
		return nil, broken
	}
	return embedded(details, l)
}

// embedded reads LogotypeDetails, whose address is a data URI in mark certificates (RFC 6170 §4):
//
//	LogotypeDetails ::= SEQUENCE { mediaType IA5String, logotypeHash SEQUENCE OF HashAlgAndValue,
//	                               logotypeURI SEQUENCE OF IA5String }
//	HashAlgAndValue ::= SEQUENCE { hashAlg AlgorithmIdentifier, hashValue OCTET STRING }
func embedded(details cryptobyte.String, l limits.Reports) ([]byte, error) {
	broken := errors.New("its icon cannot be read")
	var media, hashes, uris, uri cryptobyte.String
	if !details.ReadASN1(&media, cbasn1.IA5String) || !details.ReadASN1(&hashes, cbasn1.SEQUENCE) ||
		!details.ReadASN1(&uris, cbasn1.SEQUENCE) || !uris.ReadASN1(&uri, cbasn1.IA5String) {
		return nil, broken
	}
	data, ok := strings.CutPrefix(string(uri), "data:")
	kind, text, comma := strings.Cut(data, ",")
	kind, base64ed := strings.CutSuffix(kind, ";base64")
	if !ok || !comma || !base64ed || !strings.HasPrefix(strings.ToLower(kind), "image/svg+xml") {
		return nil, errors.New("its icon is not an embedded SVG picture")
	}
	packed, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		return nil, broken
	}
	if !anyHash(hashes, packed) {
		return nil, errors.New("its icon is not the one that the certificate names")
	}
	if !bytes.HasPrefix(packed, []byte{0x1f, 0x8b}) {
		return packed, nil
	}
	z, err := gzip.NewReader(bytes.NewReader(packed))
	if err != nil {
		return nil, broken
	}
	svg, err := io.ReadAll(io.LimitReader(z, int64(l.Icon)+1)) // CheckSVG refuses what is longer
	if err != nil {
		return nil, broken
	}
	return svg, nil
}

// anyHash reports whether all of the hashes that are known are those of data, and one is.
func anyHash(hashes cryptobyte.String, data []byte) bool {
	matched := false
	for !hashes.Empty() {
		var pair, alg cryptobyte.String
		var oid asn1.ObjectIdentifier
		var value []byte
		if !hashes.ReadASN1(&pair, cbasn1.SEQUENCE) || !pair.ReadASN1(&alg, cbasn1.SEQUENCE) ||
			!alg.ReadASN1ObjectIdentifier(&oid) || !pair.ReadASN1Bytes(&value, cbasn1.OCTET_STRING) {
			return false
		}
		sum := hashOf(oid, data)
		if sum == nil {
			continue
		}
		if !bytes.Equal(sum, value) {
			return false
		}
		matched = matched || !oid.Equal(oidSHA1) // which proves nothing any more
	}
	return matched
}

func hashOf(oid asn1.ObjectIdentifier, data []byte) []byte {
	switch {
	case oid.Equal(oidSHA1):
		s := sha1.Sum(data)
		return s[:]
	case oid.Equal(oidSHA256):
		s := sha256.Sum256(data)
		return s[:]
	case oid.Equal(oidSHA384):
		s := sha512.Sum384(data)
		return s[:]
	case oid.Equal(oidSHA512):
		s := sha512.Sum512(data)
		return s[:]
	}
	return nil
}
