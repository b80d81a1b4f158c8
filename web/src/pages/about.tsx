import { Empty } from "../ui/parts";
import type { PageOf, PageProps } from "./page";

function Page({ home }: PageProps) {
  return <Empty why={home.empty["about"] ?? ""} />;
}

export const about: PageOf = { path: "about", nav: "About", title: () => "About", Page };
