// Judges the deliveries on its standard input, in lines of fields in base64.
using System.Text;

while (Console.ReadLine() is { } line)
{
    byte[][] fields = line.Split(',').Select(Convert.FromBase64String).ToArray();
    string[] texts = fields.Select(each => Encoding.UTF8.GetString(each)).ToArray();
    string Header(string name) => texts[name switch { "webhook-id" => 2, "webhook-timestamp" => 3, _ => 4 }];
    Console.WriteLine(Webhook.IsGenuine(texts[0], Header, fields[5], long.Parse(texts[1])) ? "true" : "false");
}
