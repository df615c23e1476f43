package failure

func FromCryptoTLS(err error) error { return err }
