// Judges the deliveries on its standard input, in lines of fields in base64.
import static java.nio.charset.StandardCharsets.UTF_8;

import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.util.Arrays;
import java.util.Base64;
import java.util.Map;

final class Judge {
    public static void main(String[] arguments) throws Exception {
        BufferedReader lines = new BufferedReader(new InputStreamReader(System.in, UTF_8));
        for (String line = lines.readLine(); line != null; line = lines.readLine()) {
            byte[][] fields = Arrays.stream(line.split(",", -1)).map(Base64.getDecoder()::decode).toArray(byte[][]::new);
            Map<String, String> headers = Map.of(
                    "webhook-id", new String(fields[2], UTF_8),
                    "webhook-timestamp", new String(fields[3], UTF_8),
                    "webhook-signature", new String(fields[4], UTF_8));
            long now = Long.parseLong(new String(fields[1], UTF_8));
            System.out.println(Verify.isGenuine(new String(fields[0], UTF_8), headers::get, fields[5], now));
        }
    }
}
