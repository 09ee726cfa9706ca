// Judges the deliveries on its standard input, in lines of fields in base64. Mono takes it too.
using System;
using System.Linq;
using System.Text;

public static class Judge
{
    private static readonly string[] Names = { "webhook-id", "webhook-timestamp", "webhook-signature" };

    public static void Main()
    {
        for (var line = Console.ReadLine(); line != null; line = Console.ReadLine())
        {
            byte[][] fields = line.Split(',').Select(Convert.FromBase64String).ToArray();
            string[] texts = fields.Select(each => Encoding.UTF8.GetString(each)).ToArray();
            Func<string, string> header = name => texts[2 + Array.IndexOf(Names, name)];
            Console.WriteLine(Webhook.IsGenuine(texts[0], header, fields[5], long.Parse(texts[1])) ? "true" : "false");
        }
    }
}
