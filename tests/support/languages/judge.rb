# Judges the deliveries on its standard input, in lines of fields in base64.
require "#{Dir.pwd}/verify"

$stdin.each_line(chomp: true) do |line|
  secret, now, id, timestamp, signature, body = line.split(",", -1).map { |field| field.unpack1("m0") }
  headers = { "webhook-id" => id, "webhook-timestamp" => timestamp, "webhook-signature" => signature }
  puts genuine?(secret, headers, body, now.to_i)
end
