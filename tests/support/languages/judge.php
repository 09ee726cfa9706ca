<?php

// Judges the deliveries on its standard input, in lines of fields in base64.

require getcwd() . '/verify.php';

while (($line = fgets(STDIN)) !== false) {
    [$secret, $now, $id, $timestamp, $signature, $body] = array_map('base64_decode', explode(',', rtrim($line, "\n")));
    $headers = ['webhook-id' => $id, 'webhook-timestamp' => $timestamp, 'webhook-signature' => $signature];
    echo is_genuine($secret, $headers, $body, (int) $now) ? "true\n" : "false\n";
}
