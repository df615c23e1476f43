package starttls

import (
	"encoding/xml"
	"strings"
)

const (
	nsStream = "http://etherx.jabber.org/streams"
	nsTLS    = "urn:ietf:params:xml:ns:xmpp-tls"
)

// xmpp is RFC 6120, section 5.4; its streams are of clients or of servers.
func xmpp(namespace string) func(*dialogue, string) error {
	return func(d *dialogue, name string) error {
		var to strings.Builder
		_ = xml.EscapeText(&to, []byte(name)) // a Builder takes everything
		header := "<?xml version='1.0'?><stream:stream xmlns='" + namespace + "' xmlns:stream='" + nsStream +
			"' to='" + to.String() + "' version='1.0'>"
		if err := d.say(header, "an XMPP stream header"); err != nil {
			return err
		}
		// What doesn't begin like XML never will, and the decoder would wait for it.
		if first, err := d.in.Peek(1); err != nil {
			return d.broken(err)
		} else if first[0] != '<' {
			return d.fail(ProtocolError, nil)
		}

		in := xml.NewDecoder(d.in) // reads byte by byte from what can, and so nothing beyond a closing ">"
		stream, err := d.element(in)
		if err != nil {
			return err
		}
		if stream.Name != (xml.Name{Space: nsStream, Local: "stream"}) {
			return d.fail(ProtocolError, nil)
		}
		d.expected = "stream features with starttls"
		if !announcesFeatures(stream) {
			return d.fail(Unsupported, nil)
		}
		start, err := d.element(in)
		if err != nil {
			return err
		}
		if start.Name != (xml.Name{Space: nsStream, Local: "features"}) {
			return d.fail(ProtocolError, nil)
		}
		var features struct {
			StartTLS *struct{} `xml:"urn:ietf:params:xml:ns:xmpp-tls starttls"`
		}
		if err := in.DecodeElement(&features, &start); err != nil {
			return d.broken(err)
		}
		if features.StartTLS == nil {
			return d.fail(Unsupported, nil)
		}

		for d.in.Buffered() > 0 {
			if b, _ := d.in.ReadByte(); !strings.ContainsRune(" \t\r\n", rune(b)) {
				return d.fail(ProtocolError, errEarly)
			}
		}
		if err := d.say("<starttls xmlns='"+nsTLS+"'/>", "<proceed/> in reply to <starttls/>"); err != nil {
			return err
		}
		answer, err := d.element(in)
		if err != nil {
			return err
		}
		switch answer.Name {
		case xml.Name{Space: nsTLS, Local: "proceed"}:
			if err := in.Skip(); err != nil {
				return d.broken(err)
			}
			return nil
		case xml.Name{Space: nsTLS, Local: "failure"}:
			return d.fail(Rejected, nil)
		}
		return d.fail(ProtocolError, nil)
	}
}

// announcesFeatures tells whether features will follow a stream header: those without a version are older than they
// (RFC 6120, section 4.7.5).
func announcesFeatures(stream xml.StartElement) bool {
	for _, a := range stream.Attr {
		if a.Name.Space == "" && a.Name.Local == "version" {
			return true
		}
	}
	return false
}

// element reads up to the beginning of the next element. A stream error is an error.
func (d *dialogue) element(in *xml.Decoder) (xml.StartElement, error) {
	for {
		token, err := in.Token()
		if err != nil {
			return xml.StartElement{}, d.broken(err)
		}
		switch t := token.(type) {
		case xml.StartElement:
			if t.Name == (xml.Name{Space: nsStream, Local: "error"}) {
				d.said = []byte("stream error: " + streamError(in, &t))
				return t, d.fail(Rejected, nil)
			}
			return t, nil
		case xml.EndElement:
			return xml.StartElement{}, d.fail(Rejected, nil)
		}
	}
}

// streamError reads a stream error and returns its condition and text, as far as it gets (RFC 6120, section 4.9.2).
func streamError(in *xml.Decoder, start *xml.StartElement) string {
	var e struct {
		Parts []struct {
			XMLName xml.Name
			Text    string `xml:",chardata"`
		} `xml:",any"`
	}
	_ = in.DecodeElement(&e, start)
	var words []string
	for _, p := range e.Parts {
		if p.XMLName.Local == "text" {
			words = append(words, p.Text)
		} else {
			words = append(words, p.XMLName.Local)
		}
	}
	return strings.Join(words, ": ")
}
