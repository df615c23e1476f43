package clienthello

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/binary"
	"errors"
	"hash"
	"io"
	"slices"

	"golang.org/x/crypto/chacha20poly1305"
	"golang.org/x/crypto/cryptobyte"
)

// Kinds of records (RFC 8446, section 5.1).
const (
	recordChangeCipherSpec = 20
	recordAlert            = 21
	recordHandshake        = 22
	recordApplicationData  = 23
)

const (
	maxAnswer = 512 << 10    // bytes that are read from a server
	maxRecord = 1<<14 + 2048 // bytes of content, in TLS 1.2 (RFC 5246, section 6.2.3); TLS 1.3 allows less
)

// reader reads handshake messages from records.
type reader struct {
	conn    io.Reader
	left    int    // how many bytes may still be read
	pending []byte // of messages that are not complete
	last    []byte // the message that was read last, with its header

	// Of TLS 1.3 after the ServerHello.
	aead     cipher.AEAD // nil before
	iv       []byte
	sequence uint64
}

// message returns the next handshake message.
func (r *reader) message() (typ uint8, body cryptobyte.String, err error) {
	for {
		if len(r.pending) >= 4 {
			end := 4 + (int(r.pending[1])<<16 | int(r.pending[2])<<8 | int(r.pending[3]))
			switch {
			case end <= len(r.pending):
				r.last, r.pending = r.pending[:end:end], r.pending[end:]
				return r.last[0], r.last[4:], nil
			case end-len(r.pending) > r.left:
				return 0, nil, errTooLong
			}
		}
		if err := r.record(); err != nil {
			return 0, nil, err
		}
	}
}

// record reads a record. It adds the content of handshake records to pending, and returns an alert as an error.
func (r *reader) record() error {
	header, err := r.read(5)
	if err != nil {
		return err
	}
	kind, size := header[0], int(binary.BigEndian.Uint16(header[3:]))
	if header[1] != 3 || size > maxRecord || kind < recordChangeCipherSpec || kind > recordApplicationData {
		return errMalformed
	}
	content, err := r.read(size)
	if err != nil {
		return err
	}
	if r.aead != nil && kind == recordApplicationData {
		if kind, content, err = r.open(header, content); err != nil {
			return err
		}
	}
	switch kind {
	case recordHandshake:
		r.pending = append(r.pending, content...)
	case recordAlert:
		return alertIn(content)
	case recordApplicationData:
		return errMalformed
	}
	return nil
}

// alertIn returns the alert as an error, or nil if it is only a warning.
func alertIn(content []byte) error {
	const warning, closeNotify = 1, 0
	switch {
	case len(content) != 2:
		return errMalformed
	case content[1] == closeNotify:
		return io.EOF
	case content[0] == warning:
		return nil
	}
	return Alert(content[1])
}

func (r *reader) read(n int) ([]byte, error) {
	if r.left -= n; r.left < 0 {
		return nil, errTooLong
	}
	b := make([]byte, n)
	_, err := io.ReadFull(r.conn, b)
	return b, err
}

// open decrypts a record of TLS 1.3 (RFC 8446, section 5.2).
func (r *reader) open(header, content []byte) (kind uint8, inner []byte, err error) {
	nonce := slices.Clone(r.iv)
	for i := range 8 {
		nonce[len(nonce)-1-i] ^= byte(r.sequence >> (8 * i))
	}
	r.sequence++
	inner, err = r.aead.Open(content[:0], nonce, content, header)
	if err != nil {
		return 0, nil, err
	}
	for len(inner) > 0 && inner[len(inner)-1] == 0 { // padding
		inner = inner[:len(inner)-1]
	}
	if len(inner) == 0 {
		return 0, nil, errMalformed
	}
	return inner[len(inner)-1], inner[:len(inner)-1], nil
}

// decrypt prepares r for the encrypted messages of TLS 1.3. transcript is the ClientHello and the ServerHello, and peer the
// server's key share. It returns an error if we have no key for the group, or Go no code for the suite.
func (r *reader) decrypt(a *Answer, shares []keyShare, peer, transcript []byte) error {
	i := slices.IndexFunc(shares, func(s keyShare) bool { return s.group == a.Group })
	if i < 0 {
		return errors.New("a group without a key")
	}
	newHash, newAEAD, keySize := sha256.New, newGCM, 16
	switch a.Suite {
	case 0x1301: // TLS_AES_128_GCM_SHA256
	case 0x1302: // TLS_AES_256_GCM_SHA384
		newHash, keySize = sha512.New384, 32
	case 0x1303: // TLS_CHACHA20_POLY1305_SHA256
		newAEAD, keySize = chacha20poly1305.New, 32
	default:
		return errors.New("a suite without code")
	}
	secret, err := shares[i].agree(peer)
	if err != nil {
		return err
	}
	traffic, err := trafficSecret(newHash, secret, transcript)
	if err != nil {
		return err
	}
	key, err := expandLabel(newHash, traffic, "key", nil, keySize)
	if err != nil {
		return err
	}
	if r.iv, err = expandLabel(newHash, traffic, "iv", nil, 12); err != nil {
		return err
	}
	r.aead, err = newAEAD(key)
	return err
}

func newGCM(key []byte) (cipher.AEAD, error) {
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCM(block)
}

// trafficSecret returns server_handshake_traffic_secret (RFC 8446, section 7.1) of a handshake without a PSK.
func trafficSecret(newHash func() hash.Hash, shared, transcript []byte) ([]byte, error) {
	sum := func(b []byte) []byte {
		h := newHash()
		h.Write(b)
		return h.Sum(nil)
	}
	zeros := make([]byte, newHash().Size())
	early, err := hkdf.Extract(newHash, zeros, zeros)
	if err != nil {
		return nil, err
	}
	derived, err := expandLabel(newHash, early, "derived", sum(nil), len(zeros))
	if err != nil {
		return nil, err
	}
	handshake, err := hkdf.Extract(newHash, shared, derived)
	if err != nil {
		return nil, err
	}
	return expandLabel(newHash, handshake, "s hs traffic", sum(transcript), len(zeros))
}

// expandLabel is HKDF-Expand-Label (RFC 8446, section 7.1).
func expandLabel(newHash func() hash.Hash, secret []byte, label string, context []byte, length int) ([]byte, error) {
	var b cryptobyte.Builder
	b.AddUint16(uint16(length))
	b.AddUint8LengthPrefixed(func(b *cryptobyte.Builder) { b.AddBytes([]byte("tls13 " + label)) })
	b.AddUint8LengthPrefixed(func(b *cryptobyte.Builder) { b.AddBytes(context) })
	info, err := b.Bytes()
	if err != nil {
		return nil, err
	}
	return hkdf.Expand(newHash, secret, string(info), length)
}
