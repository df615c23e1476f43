package clienthello

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"golang.org/x/crypto/cryptobyte"
)

// Answer is what a server chose from an Offer. What it did not send is zero.
type Answer struct {
	Version, Suite uint16
	Group          uint16   // of the key exchange; 0 if there is none, or a finite field without a number
	Scheme         uint16   // of the server's signature; 0 before TLS 1.2, which has no schemes
	Retry          bool     // whether it is a HelloRetryRequest, after which nothing more can be known
	Certificates   [][]byte // DER, as the server sent them; at most MaxCertificates
}

// Alert is the error of a server that refuses an Offer.
type Alert uint8

func (a Alert) Error() string { return fmt.Sprintf("alert %d", uint8(a)) }

var (
	errMalformed = errors.New("the server's answer is malformed")
	errTooLong   = errors.New("the server's answer is too long")

	errNotOffered = errors.New("the server chose what was not offered")
)

// Handshake messages (RFC 8446, section 4; RFC 5246, section 7.4).
const (
	typeClientHello       = 1
	typeServerHello       = 2
	typeCertificate       = 11
	typeServerKeyExchange = 12
	typeServerHelloDone   = 14
	typeCertificateVerify = 15
	typeFinished          = 20
)

// MaxCertificates is how many certificates of a list are read. Each takes at least three bytes.
const MaxCertificates = 1000

// Ask sends a ClientHello and reads the answer, up to what the server signs. It reads at most 512 KiB. The connection must
// have a deadline; it cannot be used for anything else afterwards. If the server refuses, be it after it has chosen a version
// and a suite, the Answer is nil. If it sends an alert, the error is an Alert.
func Ask(conn io.ReadWriter, o Offer) (*Answer, error) {
	shares, err := newKeyShares(o.Groups)
	if err != nil {
		return nil, err
	}
	hello, err := o.marshal(shares)
	if err != nil {
		return nil, err
	}
	var b cryptobyte.Builder
	b.AddUint8(recordHandshake)
	b.AddUint16(min(o.MaxVersion, TLS10)) // servers must ignore it, but some insist on the lowest (RFC 8446, section 5.1)
	b.AddUint16LengthPrefixed(func(b *cryptobyte.Builder) { b.AddBytes(hello) })
	record, err := b.Bytes()
	if err != nil {
		return nil, err
	}
	if _, err := conn.Write(record); err != nil {
		return nil, err
	}

	in := &reader{conn: conn, left: maxAnswer}
	typ, body, err := in.message()
	if err != nil {
		return nil, err
	}
	a := &Answer{}
	var share []byte
	if typ != typeServerHello || !a.readServerHello(body, &share) {
		return nil, errMalformed
	}
	if !a.chosenFrom(&o) {
		return nil, errNotOffered
	}
	readable := a.Version != TLS13 || !a.Retry && in.decrypt(a, shares, share, append(hello, in.last...)) == nil
	if !readable {
		return a, nil
	}
	err = a.readFlight(in)
	// Mbed TLS chooses a suite before it looks for a group. If it finds none, it closes the connection.
	noGroup := errors.Is(err, io.EOF) && a.Group == 0 && strings.HasPrefix(SuiteName(a.Suite), "TLS_ECDHE_")
	var alert Alert
	if errors.As(err, &alert) || noGroup {
		return nil, err
	}
	return a, nil
}

// helloRetryRequest is the random of a ServerHello that is a HelloRetryRequest (RFC 8446, section 4.1.3).
var helloRetryRequest = sha256.Sum256([]byte("HelloRetryRequest"))

// readServerHello sets what a ServerHello has. share is the server's half of the key exchange in TLS 1.3.
func (a *Answer) readServerHello(s cryptobyte.String, share *[]byte) bool {
	var random []byte
	var sessionID, extensions cryptobyte.String
	var compression uint8
	if !s.ReadUint16(&a.Version) || !s.ReadBytes(&random, 32) || !s.ReadUint8LengthPrefixed(&sessionID) ||
		!s.ReadUint16(&a.Suite) || !s.ReadUint8(&compression) {
		return false
	}
	a.Retry = [32]byte(random) == helloRetryRequest
	if s.Empty() {
		return true
	}
	if !s.ReadUint16LengthPrefixed(&extensions) {
		return false
	}
	for !extensions.Empty() {
		var id uint16
		var content cryptobyte.String
		if !extensions.ReadUint16(&id) || !extensions.ReadUint16LengthPrefixed(&content) {
			return false
		}
		switch id {
		case extSupportedVersions:
			if !content.ReadUint16(&a.Version) {
				return false
			}
		case extKeyShare:
			if !content.ReadUint16(&a.Group) || !a.Retry && !readBytes16(&content, share) {
				return false
			}
		}
	}
	return true
}

// chosenFrom reports whether the server chose the version, the suite and the group from the offer. An older version than
// MinVersion was offered too, unless MaxVersion is TLS13: only then is the lowest version sent.
func (a *Answer) chosenFrom(o *Offer) bool {
	lowest := uint16(SSL30)
	if o.MaxVersion >= TLS13 {
		lowest = o.MinVersion
	}
	return a.Version >= lowest && a.Version <= o.MaxVersion && slices.Contains(o.Suites, a.Suite) &&
		(a.Group == 0 || slices.Contains(o.Groups, a.Group))
}

// readFlight reads the messages after the ServerHello.
func (a *Answer) readFlight(in *reader) error {
	for {
		typ, body, err := in.message()
		if err != nil {
			return err
		}
		ok := true
		switch typ {
		case typeCertificate:
			ok = a.readCertificates(body)
		case typeServerKeyExchange:
			ok = a.readKeyExchange(body)
		case typeCertificateVerify:
			_ = body.ReadUint16(&a.Scheme)
			return nil
		case typeServerHelloDone, typeFinished:
			return nil
		}
		if !ok {
			return errMalformed
		}
	}
}

func (a *Answer) readCertificates(s cryptobyte.String) bool {
	var context, list, ignored cryptobyte.String
	if a.Version == TLS13 && !s.ReadUint8LengthPrefixed(&context) || !s.ReadUint24LengthPrefixed(&list) {
		return false
	}
	for !list.Empty() && len(a.Certificates) < MaxCertificates {
		var der cryptobyte.String
		if !list.ReadUint24LengthPrefixed(&der) || a.Version == TLS13 && !list.ReadUint16LengthPrefixed(&ignored) {
			return false
		}
		a.Certificates = append(a.Certificates, der)
	}
	return true
}

// readKeyExchange reads the group and the signature scheme of a ServerKeyExchange (RFC 8422, section 5.4, and RFC 5246,
// section 7.4.3). The layout depends on the suite.
func (a *Answer) readKeyExchange(s cryptobyte.String) bool {
	name := SuiteName(a.Suite)
	var ignored cryptobyte.String
	if strings.Contains(name, "PSK") && !s.ReadUint16LengthPrefixed(&ignored) { // a hint
		return false
	}
	switch {
	case strings.HasPrefix(name, "TLS_ECDH"):
		var kind uint8
		if !s.ReadUint8(&kind) || kind != 3 || !s.ReadUint16(&a.Group) || !s.ReadUint8LengthPrefixed(&ignored) {
			return false
		}
	case strings.HasPrefix(name, "TLS_DH"):
		for range 3 { // p, g, public key
			if !s.ReadUint16LengthPrefixed(&ignored) {
				return false
			}
		}
	default:
		return true
	}
	if a.Version < TLS12 || strings.Contains(name, "_anon_") || strings.Contains(name, "PSK") {
		return true
	}
	return s.ReadUint16(&a.Scheme)
}

func readBytes16(s *cryptobyte.String, out *[]byte) bool {
	return s.ReadUint16LengthPrefixed((*cryptobyte.String)(out))
}
