// What .NET has had since 5.0 and Mono has not. Names of no namespace go before those that `using` brings.
using System.Linq;

public static class HMACSHA256
{
    public static byte[] HashData(byte[] key, byte[] source)
    {
        using (var hmac = new System.Security.Cryptography.HMACSHA256(key))
        {
            return hmac.ComputeHash(source);
        }
    }
}

public static class CryptographicOperations
{
    public static bool FixedTimeEquals(byte[] left, byte[] right) => left.SequenceEqual(right);
}
