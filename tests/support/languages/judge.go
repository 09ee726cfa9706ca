// Judges the deliveries on its standard input, in lines of fields in base64.
package main

import (
	"bufio"
	"encoding/base64"
	"fmt"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"
)

func main() {
	judge := isGenuine
	if len(os.Args) > 1 && os.Args[1] == "key" {
		judge = isGenuineByKey
	}
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		var fields []string
		for _, each := range strings.Split(lines.Text(), ",") {
			decoded, err := base64.StdEncoding.DecodeString(each)
			if err != nil {
				panic(err)
			}
			fields = append(fields, string(decoded))
		}
		now, err := strconv.ParseInt(fields[1], 10, 64)
		if err != nil {
			panic(err)
		}
		header := http.Header{}
		header.Set("webhook-id", fields[2])
		header.Set("webhook-timestamp", fields[3])
		header.Set("webhook-signature", fields[4])
		fmt.Println(judge(fields[0], header, []byte(fields[5]), time.Unix(now, 0)))
	}
}
